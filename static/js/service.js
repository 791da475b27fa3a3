// The HTTP API: one request, and one answer or one problem document.

const BYTES_IN_MB = 1_000_000;

// A proxy in front of the server may answer with a page of its own; its status still says why.
const CODE_OF_STATUS = { 408: "request_slow", 413: "image_too_large", 429: "rate_limited", 502: "busy", 503: "busy", 504: "busy" };

/** An error with the members of its problem document. */
export class ServiceError extends Error {
  constructor(problem) {
    super(problem.code);
    this.problem = problem;
  }
}

export class Service {
  #address;
  #limitMb;
  #fields;

  /** @param fields name and value of what every request says besides its photo */
  constructor(address, limitMb, fields = []) {
    this.#address = address;
    this.#limitMb = limitMb;
    this.#fields = fields;
  }

  /** Return the analysis of a photo, as text and as data; as `send` otherwise. */
  async analyze(...request) {
    const { answerText, answer } = await this.send(...request);
    if (!Array.isArray(answer?.faces)) throw new ServiceError({ code: "internal" });
    return { answerText, analysis: answer };
  }

  /**
   * Return the answer as text and as data, or throw ServiceError; an abort stays an AbortError.
   * @param fields name and value of what only this request says
   * @param onSent called with the share of the request that was sent
   */
  async send(photo, signal, fields = [], onSent = () => {}) {
    if (photo.size === 0) throw new ServiceError({ code: "image_empty" });
    checkSize(photo.size, this.#limitMb);
    const form = new FormData();
    form.append("image", photo, photo.name || "photo");
    [...this.#fields, ...fields].forEach(([name, value]) => form.set(name, value));
    const { response, body } = await post(this.#address, form, signal, "application/json, application/problem+json", onSent);
    const answer = parse(body);
    if (!response.ok) throw new ServiceError(problemOf(response.status, answer, this.#limitMb));
    return { answerText: body, answer };
  }
}

/** Return the problem document of a refusal, or one that says as much as its status does. */
export function problemOf(status, answer, limitMb) {
  if (answer?.code) return answer;
  const code = CODE_OF_STATUS[status] ?? "internal";
  return code === "image_too_large" ? { code, limit_mb: limitMb } : { code };
}

/** Throw ServiceError before a long upload that the server would refuse. */
export function checkSize(bytes, limitMb) {
  if (bytes > limitMb * BYTES_IN_MB) throw new ServiceError({ code: "image_too_large", limit_mb: limitMb });
}

/** Send a form; return the response's head, and its body as text. Only XMLHttpRequest tells how much was sent. */
export function post(address, form, signal, accept = "*/*", onSent = () => {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("Accept", accept);
    request.upload.onprogress = ({ loaded, total }) => onSent(loaded / total);
    request.onload = () => {
      const headers = { "Content-Type": request.getResponseHeader("Content-Type") ?? "" };
      resolve({ response: new Response(null, { status: request.status, headers }), body: request.responseText });
    };
    request.onerror = () => reject(new ServiceError({ code: "network" }));
    request.onabort = () => reject(new DOMException("The request was aborted.", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Parse JSON; return null for anything else. */
export function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
