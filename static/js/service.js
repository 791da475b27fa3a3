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

  /**
   * Return the answer as text and as data, or throw ServiceError; an abort stays an AbortError.
   * @param fields name and value of what only this request says
   */
  async analyze(photo, signal, fields = []) {
    if (photo.size === 0) throw new ServiceError({ code: "image_empty" });
    checkSize(photo.size, this.#limitMb);
    const form = new FormData();
    form.append("image", photo, photo.name || "photo");
    [...this.#fields, ...fields].forEach(([name, value]) => form.set(name, value));
    const { response, body } = await post(this.#address, form, signal, "application/json, application/problem+json");
    const answer = parse(body);
    if (!response.ok) throw new ServiceError(this.#problem(response.status, answer));
    if (!Array.isArray(answer?.faces)) throw new ServiceError({ code: "internal" });
    return { answerText: body, analysis: answer };
  }

  #problem(status, answer) {
    if (answer?.code) return answer;
    const code = CODE_OF_STATUS[status] ?? "internal";
    return code === "image_too_large" ? { code, limit_mb: this.#limitMb } : { code };
  }
}

/** Throw ServiceError before a long upload that the server would refuse. */
export function checkSize(bytes, limitMb) {
  if (bytes > limitMb * BYTES_IN_MB) throw new ServiceError({ code: "image_too_large", limit_mb: limitMb });
}

/** Send a form; return the response and its body as text. */
export async function post(address, form, signal, accept = "*/*") {
  try {
    const response = await fetch(address, { method: "POST", body: form, signal, headers: { Accept: accept } });
    return { response, body: await response.text() };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError({ code: "network" });
  }
}

/** Parse JSON; return null for anything else. */
export function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
