// Reading a film: its frames in order, each sent until it is answered.

import { Transport } from "../realtime/transport.js";
import { Numbering } from "./numbering.js";

// After these the same frame is sent again.
const PASSING = new Set(["busy", "rate_limited", "inference_unavailable", "internal"]);
const AGAIN_MS = 2000;
const LOST = { lost: true };

export class FilmReader {
  #source;
  #readings;
  #transport;
  #on;
  #numbering = new Numbering();
  #next = 0;
  #last = null; // the newest frame that was answered, with its faces
  #rejoin = false; // whether that frame is to be read again, as the track numbers begin anew
  #pending = null;
  #run = null;
  #timer = 0;

  /**
   * @param on.read called with each frame's faces and JPEG
   * @param on.problem called with a problem document; the frame is sent again
   * @param on.connected,on.waiting,on.rejected as the transport calls them
   * @param on.ended called after the last frame
   */
  constructor(connection, source, readings, on) {
    this.#source = source;
    this.#readings = readings;
    this.#on = on;
    this.#transport = new Transport(connection, {
      answer: (answer) => this.#settle(answer),
      problem: (problem) => this.#take(problem),
      renumbered: () => {
        this.#rejoin = this.#last !== null;
        this.#settle(LOST);
      },
      connected: (how) => {
        on.connected(how);
        this.#send();
      },
      waiting: on.waiting,
      rejected: (reason) => {
        this.pause();
        on.rejected(reason);
      },
    });
    // Each frame's own reading, as the command line gives it: what smoothing shows comes later.
    this.#transport.set({ clock: "media", smoothing_seconds: 0, ...connection.choice });
  }

  get running() {
    return this.#run !== null;
  }

  get done() {
    return this.#next;
  }

  get transport() {
    return this.#transport.name;
  }

  /** Read on from the first frame without an answer. */
  async run() {
    const run = (this.#run = {});
    this.#transport.open();
    this.#source.start(this.#readings, this.#next);
    while (this.#next < this.#readings.count) {
      const frame = await this.#source.take();
      if (run !== this.#run) return;
      const answer = frame.blob ? await this.#ask(frame) : { problem: { code: "frame_undecodable" } };
      if (run !== this.#run) return;
      this.#keep(frame, answer);
    }
    this.pause();
    this.#on.ended();
  }

  /** Stop, and free the server's place for others. */
  pause() {
    this.#run = null;
    this.#source.stop();
    clearTimeout(this.#timer);
    this.#transport.close();
    this.#settle(null);
  }

  #keep({ index, time, blob }, answer) {
    // A camera's view holds the box of a face that is missed for a moment; in a film it is missed.
    const found = (answer.faces ?? []).filter(({ detected }) => detected);
    const faces = this.#numbering.number(found).map(({ detected, ...face }) => face);
    this.#readings.add(index, time, { ...answer, faces });
    if (answer.faces) this.#last = { time, blob, faces };
    this.#next = index + 1;
    this.#on.read(faces, blob);
  }

  /** Return the answer to a frame, null once the reading pauses. */
  async #ask(frame) {
    for (;;) {
      const again = this.#rejoin;
      const answer = await this.#exchange(again ? this.#last : frame);
      if (answer === LOST) continue;
      if (!again || !answer) return answer;
      this.#rejoin = false;
      this.#numbering.restart(answer.faces ?? [], this.#last.faces);
    }
  }

  #exchange(frame) {
    return new Promise((resolve) => {
      this.#pending = { frame, resolve };
      this.#send();
    });
  }

  #send() {
    if (!this.#pending || !this.#transport.ready) return;
    this.#transport.reserve();
    this.#transport.send(this.#pending.frame.blob, this.#pending.frame.time);
  }

  #settle(answer) {
    const pending = this.#pending;
    this.#pending = null;
    pending?.resolve(answer);
  }

  #take(problem) {
    if (!PASSING.has(problem.code)) return this.#settle({ problem });
    this.#on.problem(problem);
    this.#timer = setTimeout(() => this.#settle(LOST), (problem.retry_after ?? 0) * 1000 + AGAIN_MS);
  }
}
