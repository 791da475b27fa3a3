// The way to the server and back: a socket, or single photos where sockets are blocked.
// Whichever it is, one frame is under way at a time.

import { Refused, Service } from "../service.js";
import { follow } from "./tracker.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
// A frame without an answer for this long: the connection is dead even if nobody said so.
const LONGEST_ANSWER_MS = 10_000;
// The first attempt may fall into a restart; a second failure beside a reachable server is no accident.
const FAILURES_BEFORE_PHOTOS = 2;
// The server gave up on this client's messages; the same ones would only be refused again.
const FINAL_REASONS = new Set([
  "foreign_origin", "token_missing", "token_unknown", "message_too_large", "too_many_faults", "protocol_error",
]);
// Whatever else a newer server or a proxy may say is a connection lost.
const PASSING_REASONS = new Set(["server_stops", "silent", "too_many_streams", "rate_limited"]);
// Photos refused for these are not sent again at once.
const WORTH_WAITING = new Set(["busy", "rate_limited", "inference_unavailable", "internal"]);
const PHOTO_WAIT_MS = 2000;
const CODE_REASONS = { 1001: "server_stops", 1009: "message_too_large", 1013: "too_many_streams" };
// Long enough for a slow network, and short beside the waits.
const REACH_MS = 5000;

export class Transport {
  #address;
  #service;
  #on;
  #socket = null;
  #photos = false;
  #busy = false;
  #wanted = false;
  #failures = 0;
  #timer = 0;
  #answerTimer = 0;
  #restTimer = 0;
  #settings = {};
  #abort = null;

  /**
   * @param choice the fields that name the models with which single photos are read
   * @param on.answer called with each answer
   * @param on.problem called with a problem document: this frame had no answer, the next may
   * @param on.connected called when frames can be sent; told how: "socket" or "photos"
   * @param on.renumbered called when the numbers of faces so far mean nothing any more
   * @param on.waiting called with a reason and milliseconds when another attempt follows
   * @param on.refused called with a reason when none does
   */
  constructor({ socket, service, limitMb, choice }, on) {
    this.#address = socket;
    this.#service = new Service(service, limitMb, Object.entries(choice));
    this.#on = on;
  }

  /** Whether a frame can be sent now. */
  get ready() {
    return this.#wanted && !this.#busy && (this.#photos || this.#socket?.readyState === WebSocket.OPEN);
  }

  get name() {
    return this.#photos ? "photos" : "socket";
  }

  open() {
    this.#wanted = true;
    this.#failures = 0;
    if (this.#photos) this.#on.connected("photos");
    else if (this.#socket?.readyState === WebSocket.OPEN) this.#on.connected("socket");
    else this.#connect();
  }

  /** Send nothing more for now; what is under way comes to nothing. */
  pause() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#abort?.abort();
    if (this.#socket?.readyState === WebSocket.CONNECTING) this.#drop();
  }

  close() {
    this.pause();
    this.#drop();
    this.#photos = false;
  }

  /** Keep settings for this and every later socket. */
  set(settings) {
    this.#settings = settings;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(settings));
  }

  /** Hold the place for a frame that is still being made. */
  reserve() {
    this.#busy = true;
  }

  /** Send the frame for which a place is held; null gives the place back. */
  send(blob) {
    if (!blob || !this.#wanted) this.#busy = false;
    else if (this.#photos) this.#sendPhoto(blob);
    else if (this.#socket?.readyState === WebSocket.OPEN) this.#sendFrame(blob);
    else this.#busy = false;
  }

  #sendFrame(blob) {
    this.#socket.send(blob);
    this.#answerTimer = setTimeout(() => this.#closed(true, "lost"), LONGEST_ANSWER_MS);
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
      if (this.#wanted) this.#on.connected("socket");
    });
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#take(JSON.parse(data));
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(opened, reason || CODE_REASONS[code]);
    });
  }

  #take(answer) {
    if (!("frame" in answer)) return;
    clearTimeout(this.#answerTimer);
    const rest = answer.problem?.retry_after ?? 0;
    if (rest) this.#restTimer = setTimeout(() => (this.#busy = false), rest * 1000);
    else this.#busy = false;
    this.#failures = 0;
    if (!this.#wanted) return;
    if (answer.problem) this.#on.problem(answer.problem);
    else this.#on.answer(answer);
  }

  async #closed(opened, reason) {
    this.#drop();
    if (!this.#wanted) return;
    if (FINAL_REASONS.has(reason)) {
      this.#wanted = false;
      return this.#on.refused(reason);
    }
    this.#failures += 1;
    const passing = PASSING_REASONS.has(reason) ? reason : "lost";
    if (!opened && this.#failures >= FAILURES_BEFORE_PHOTOS && (await isReachable())) {
      if (!this.#wanted) return;
      this.#photos = true;
      this.#on.renumbered();
      return this.#on.connected("photos");
    }
    if (this.#wanted) this.#tryAgain(passing);
  }

  #tryAgain(reason) {
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#failures - 1));
    this.#on.waiting(reason, wait);
    // Clients that a restart threw out together should not all come back in the same moment.
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

  async #sendPhoto(blob) {
    this.#abort = new AbortController();
    try {
      const { analysis } = await this.#service.analyze(blob, this.#abort.signal);
      this.#busy = false;
      if (this.#wanted) this.#on.answer({ dropped: 0, ...analysis, faces: follow(analysis.faces) });
    } catch (error) {
      this.#refusedPhoto(error);
    }
  }

  #refusedPhoto(error) {
    const hasToWait = WORTH_WAITING.has(error.problem?.code);
    if (hasToWait) setTimeout(() => (this.#busy = false), PHOTO_WAIT_MS);
    else this.#busy = false;
    if (!this.#wanted || !(error instanceof Refused)) return;
    if (error.problem.code !== "network") return this.#on.problem(error.problem);
    // Perhaps sockets pass by the way that is found next.
    this.#photos = false;
    this.#failures = 1;
    this.#tryAgain("lost");
  }
}

async function isReachable() {
  try {
    const signal = AbortSignal.timeout(REACH_MS);
    return (await fetch("/healthz", { cache: "no-store", signal })).ok;
  } catch {
    return false;
  }
}
