// The connection to the server: a WebSocket, or single photos where sockets are blocked.
// Either way, one frame at a time awaits its answer.

import { Service, ServiceError } from "../service.js";
import { track } from "./tracker.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
// A frame without an answer for this long: the connection is dead, although no close event came.
const ANSWER_TIMEOUT_MS = 10_000;
// The first attempt may meet a restart; a second failure while the server is reachable means blocked sockets.
const FAILURES_BEFORE_PHOTOS = 2;
// The server rejects this client's messages; it would reject the same ones again.
const FINAL_REASONS = new Set([
  "foreign_origin", "token_missing", "token_unknown", "message_too_large", "too_many_faults", "protocol_error",
]);
// Any other reason, from a newer server or a proxy, counts as a lost connection.
const PASSING_REASONS = new Set(["server_stops", "silent", "too_many_streams", "rate_limited"]);
// After these the next photo waits.
const BACKOFF_CODES = new Set(["busy", "rate_limited", "inference_unavailable", "internal"]);
const BACKOFF_MS = 2000;
const CODE_REASONS = { 1002: "protocol_error", 1007: "protocol_error", 1009: "message_too_large" };
const REACHABLE_TIMEOUT_MS = 5000;

/** Return what the server wrote into a page of the stream: addresses, limit, and the visitor's choice of models. */
export function connectionOf({ dataset: { socket, service, limitMb, choice } }) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return { socket: `${scheme}://${location.host}${socket}`, service, limitMb: Number(limitMb), choice: JSON.parse(choice) };
}

export class Transport {
  #address;
  #service;
  #on;
  #socket = null;
  #usesPhotos = false;
  #busy = false;
  #running = false;
  #failures = 0;
  #timer = 0;
  #answerTimer = 0;
  #restTimer = 0;
  #settings = {};
  #abort = null;

  /**
   * @param connection what `connectionOf` returns
   * @param on.answer called with each answer
   * @param on.problem called with the problem document of one frame; the next is sent all the same
   * @param on.connected called with "socket" or "photos" when frames can be sent
   * @param on.renumbered called when the track numbers so far become invalid
   * @param on.waiting called with a reason and milliseconds when another attempt follows
   * @param on.rejected called with a reason when no attempt follows
   */
  constructor({ socket, service, limitMb, choice }, on) {
    this.#address = socket;
    this.#service = new Service(service, limitMb, Object.entries(choice));
    this.#on = on;
  }

  /** Whether a frame can be sent now. */
  get ready() {
    return this.#running && !this.#busy && (this.#usesPhotos || this.#socket?.readyState === WebSocket.OPEN);
  }

  get name() {
    return this.#usesPhotos ? "photos" : "socket";
  }

  open() {
    this.#running = true;
    this.#failures = 0;
    if (this.#usesPhotos) this.#on.connected("photos");
    else if (this.#socket?.readyState === WebSocket.OPEN) this.#on.connected("socket");
    else this.#connect();
  }

  /** Stop sending; the pending answer is dropped. */
  pause() {
    this.#running = false;
    clearTimeout(this.#timer);
    this.#abort?.abort();
    if (this.#socket?.readyState === WebSocket.CONNECTING) this.#drop();
  }

  close() {
    this.pause();
    this.#drop();
    this.#usesPhotos = false;
  }

  /** Set the settings of this and every later socket. */
  set(settings) {
    this.#settings = settings;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(settings));
  }

  /** Reserve the next send for a frame that is still being encoded. */
  reserve() {
    this.#busy = true;
  }

  /** Send the reserved frame, with its seconds if it is a film's; null cancels the reservation. */
  send(blob, seconds = null) {
    if (!blob || !this.#running) this.#busy = false;
    else if (this.#usesPhotos) this.#sendPhoto(blob, seconds);
    else if (this.#socket?.readyState === WebSocket.OPEN) this.#sendFrame(blob, seconds);
    else this.#busy = false;
  }

  #sendFrame(blob, seconds) {
    this.#socket.send(seconds === null ? blob : new Blob([bigEndian(seconds), blob]));
    this.#answerTimer = setTimeout(() => this.#closed(true, "lost"), ANSWER_TIMEOUT_MS);
  }

  #connect() {
    this.#drop();
    const socket = new WebSocket(this.#address);
    this.#socket = socket;
    let opened = false;
    socket.addEventListener("open", () => {
      opened = true;
      socket.send(JSON.stringify(this.#settings));
      this.#on.renumbered();
      if (this.#running) this.#on.connected("socket");
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#take(JSON.parse(data));
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(opened, CODE_REASONS[code] || reason);
    });
  }

  #take(answer) {
    if (!("frame" in answer)) return;
    clearTimeout(this.#answerTimer);
    this.#freeAfter((answer.problem?.retry_after ?? 0) * 1000);
    this.#failures = 0;
    if (!this.#running) return;
    if (answer.problem) this.#on.problem(answer.problem);
    else this.#on.answer(answer);
  }

  #freeAfter(milliseconds) {
    if (milliseconds) this.#restTimer = setTimeout(() => (this.#busy = false), milliseconds);
    else this.#busy = false;
  }

  async #closed(opened, reason) {
    this.#drop();
    if (!this.#running) return;
    if (FINAL_REASONS.has(reason)) {
      this.#running = false;
      return this.#on.rejected(reason);
    }
    this.#failures += 1;
    const passing = PASSING_REASONS.has(reason) ? reason : "lost";
    if (!opened && this.#failures >= FAILURES_BEFORE_PHOTOS && (await isReachable())) {
      if (!this.#running) return;
      this.#usesPhotos = true;
      this.#on.renumbered();
      return this.#on.connected("photos");
    }
    if (this.#running) this.#tryAgain(passing);
  }

  #tryAgain(reason) {
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#failures - 1));
    this.#on.waiting(reason, wait);
    // Jitter: clients that a restart disconnected together must not all return at the same moment.
    this.#timer = setTimeout(() => this.#connect(), wait * (0.75 + Math.random() / 2));
  }

  #drop() {
    clearTimeout(this.#answerTimer);
    clearTimeout(this.#restTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.#busy = false;
    socket?.close();
  }

  async #sendPhoto(blob, seconds) {
    this.#abort = new AbortController();
    try {
      const { analysis } = await this.#service.analyze(blob, this.#abort.signal);
      this.#busy = false;
      const faces = track(analysis.faces, seconds === null ? performance.now() : seconds * 1000);
      if (this.#running) this.#on.answer({ dropped: 0, ...analysis, faces });
    } catch (error) {
      this.#photoFailed(error);
    }
  }

  #photoFailed(error) {
    this.#freeAfter(BACKOFF_CODES.has(error.problem?.code) ? BACKOFF_MS : 0);
    if (!this.#running || !(error instanceof ServiceError)) return;
    if (error.problem.code !== "network") return this.#on.problem(error.problem);
    // The next network may let sockets pass.
    this.#usesPhotos = false;
    this.#failures = 1;
    this.#tryAgain("lost");
  }
}

function bigEndian(seconds) {
  const time = new DataView(new ArrayBuffer(8));
  time.setFloat64(0, seconds);
  return time;
}

async function isReachable() {
  try {
    const signal = AbortSignal.timeout(REACHABLE_TIMEOUT_MS);
    return (await fetch("/healthz", { cache: "no-store", signal })).ok;
  } catch {
    return false;
  }
}
