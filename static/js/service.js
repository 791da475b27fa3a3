// The analysis service: one photo sent, one answer or one named refusal back.

const BYTES_IN_MB = 1_000_000;

// A proxy in front of the server may refuse in its own words; its status still tells why.
const CODE_OF_STATUS = { 408: "request_slow", 413: "image_too_large", 429: "rate_limited", 502: "busy", 503: "busy", 504: "busy" };

/** A refusal with the members of its problem document. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.code);
    this.problem = problem;
  }
}

export class Service {
  #address;
  #limit;
  #fields;

  /** @param fields name and value of what every request says besides its photo */
  constructor(address, limitInMb, fields = []) {
    this.#address = address;
    this.#limit = limitInMb;
    this.#fields = fields;
  }

  /**
   * Return the answer as text and as data, or throw Refused; an abort stays an AbortError.
   * @param fields name and value of what this request says otherwise
   */
  async analyze(photo, signal, fields = []) {
    this.#checkSize(photo);
    const form = new FormData();
    form.append("image", photo, photo.name || "photo");
    [...this.#fields, ...fields].forEach(([name, value]) => form.set(name, value));
    const response = await this.#send(form, signal);
    const body = await this.#body(response);
    if (!response.ok) throw new Refused(this.#problem(response.status, body));
    const analysis = parsed(body);
    if (!Array.isArray(analysis?.faces)) throw new Refused({ code: "internal" });
    return { answerText: body, analysis };
  }

  // Better said at once than after a long upload.
  #checkSize(photo) {
    if (photo.size === 0) throw new Refused({ code: "image_empty" });
    if (photo.size > this.#limit * BYTES_IN_MB) throw new Refused(this.#tooLarge());
  }

  async #send(form, signal) {
    return unlessUnreachable(
      fetch(this.#address, {
        method: "POST",
        body: form,
        signal,
        headers: { Accept: "application/json, application/problem+json" },
      }),
    );
  }

  async #body(response) {
    return unlessUnreachable(response.text());
  }

  #problem(status, body) {
    const problem = parsed(body);
    if (problem?.code) return problem;
    const code = CODE_OF_STATUS[status] ?? "internal";
    return code === "image_too_large" ? this.#tooLarge() : { code };
  }

  #tooLarge() {
    return { code: "image_too_large", limit_mb: this.#limit };
  }
}

async function unlessUnreachable(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({ code: "network" });
  }
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
