// The visit's photos: each is read once, two at a time, and again where the server was busy.

import { ServiceError } from "../service.js";

const IN_FLIGHT = 2;
// How often a photo is sent to a busy server that says when to try again.
const MOST_ATTEMPTS = 5;
const WAITED_FOR = new Set(["busy", "rate_limited"]);
// After these, the same photo may be answered on another try.
const RETRYABLE = new Set(["network", "request_slow", "busy", "rate_limited", "inference_unavailable", "internal"]);

export class PhotoQueue {
  entries = [];
  stopped = false;
  /** The entry that is read before all others that wait. */
  preferred = null;
  #request;
  #onChange;
  #run = { since: 0, done: 0 };

  /**
   * @param request returns the promise of an entry's answer, as Service.analyze does
   * @param onChange called with an entry whose state changed: "waiting", "reading", "done" or "failed"
   */
  constructor(request, onChange) {
    this.#request = request;
    this.#onChange = onChange;
  }

  /** Add photos and return their entries. */
  add(photos) {
    return this.#append(photos.map((photo) => ({ photo, name: photo.webkitRelativePath || photo.name, fields: [], state: "waiting" })));
  }

  /** Return the entries as another page can take them. */
  pack() {
    return this.entries.map(({ abort, ...entry }) => ({ ...entry, state: entry.state === "reading" ? "waiting" : entry.state }));
  }

  /** Add entries of another page, to be read again unless they are `answered`. */
  unpack(entries, answered) {
    return this.#append(answered ? entries : entries.map((entry) => ({ ...entry, fields: [], state: "waiting" })));
  }

  /** Read entries again, with these fields of the request. */
  repeat(entries, fields) {
    for (const entry of entries) Object.assign(entry, { state: "waiting", problem: null, fields: fields ?? entry.fields });
    entries.forEach(this.#onChange);
    this.resume();
  }

  resume() {
    this.stopped = false;
    if (this.#in("reading").length === 0) this.#run = { since: performance.now(), done: 0 };
    this.#next();
  }

  stop() {
    this.stopped = true;
    for (const entry of this.#in("reading")) {
      entry.abort.abort();
      this.#set(entry, "waiting");
    }
  }

  clear() {
    this.stop();
    this.entries = [];
  }

  get waiting() {
    return this.#in("waiting").length + this.#in("reading").length;
  }

  get done() {
    return this.#in("done");
  }

  get failed() {
    return this.#in("failed");
  }

  /** Failed entries that may be answered on another try. */
  get retryable() {
    return this.failed.filter(({ problem }) => RETRYABLE.has(problem.code));
  }

  /** Seconds until all are read, by the pace so far; null before the first answer. */
  get secondsLeft() {
    const { since, done } = this.#run;
    return done && this.waiting ? ((performance.now() - since) / 1000 / done) * this.waiting : null;
  }

  #append(entries) {
    this.entries.push(...entries);
    return entries;
  }

  #in(state) {
    return this.entries.filter((entry) => entry.state === state);
  }

  #set(entry, state, more = {}) {
    Object.assign(entry, { state, busy: false, sent: 0 }, more);
    this.#onChange(entry);
  }

  #next() {
    const waiting = this.#in("waiting");
    if (this.stopped || !waiting.length || this.#in("reading").length >= IN_FLIGHT) return;
    this.#read(waiting.includes(this.preferred) ? this.preferred : waiting[0]);
    this.#next();
  }

  async #read(entry) {
    const abort = new AbortController();
    this.#set(entry, "reading", { abort });
    const [state, more] = await this.#ask(entry, abort.signal);
    if (abort.signal.aborted) return;
    this.#run.done += 1;
    this.#set(entry, state, more);
    this.#next();
  }

  async #ask(entry, signal) {
    for (let attempt = 1; ; attempt++) {
      try {
        return ["done", await this.#request(entry, signal)];
      } catch (error) {
        if (signal.aborted) return [];
        if (!(error instanceof ServiceError)) throw error;
        const { code, retry_after: seconds } = error.problem;
        if (!WAITED_FOR.has(code) || !seconds || attempt === MOST_ATTEMPTS) return ["failed", { problem: error.problem }];
        this.#set(entry, "reading", { busy: true });
        // Longer by chance, or all who were refused together would come back together.
        await new Promise((resume) => setTimeout(resume, 1000 * seconds * (1 + Math.random())));
        if (signal.aborted) return [];
      }
    }
  }
}
