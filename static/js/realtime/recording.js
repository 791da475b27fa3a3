// A recording of readings, never of images: kept in this page until it is saved or the page is left.

import { fileStamp, saveFile } from "../dom.js";
import { faceTable, toCsv } from "../table.js";

export class Recording {
  #rows = [];
  #started = new Date();
  #ended = null;
  #describe;

  /** Event marks: the time, the seconds since the start, and the word. */
  marks = [];
  /** Whether leaving the page loses nothing. */
  saved = false;

  /** @param describe called at the end for the models and settings used */
  constructor(describe) {
    this.#describe = describe;
  }

  get running() {
    return this.#ended === null;
  }

  get count() {
    return this.#rows.length;
  }

  get started() {
    return this.#started;
  }

  get seconds() {
    return ((this.#ended?.at ?? Date.now()) - this.#started) / 1000;
  }

  stop() {
    if (this.running) this.#ended = { at: new Date(), about: this.#describe() };
  }

  /** Add the readings of one answer, `most` at most; `delay` is in milliseconds, from camera to box. */
  add({ frame, faces }, delay, most) {
    const rows = faces.map((face) => ({ ...this.#now(), frame, delay_ms: Math.round(delay), face }));
    this.#rows.push(...rows.slice(0, most));
  }

  mark(word) {
    this.marks.push({ ...this.#now(), word });
  }

  saveJson() {
    const readings = this.#rows.map(({ face, ...rest }) => ({ ...rest, ...face }));
    this.#save(JSON.stringify({ about: this.#metadata(), readings }, null, 1), "application/json", "json");
  }

  /** Save one row for each face and frame, and one for each mark; lines that start with # hold the metadata. */
  saveCsv() {
    const table = faceTable(this.#rows.map(({ face }) => face));
    const head = ["time", "seconds", "mark", "frame", "delay_ms", ...table.head];
    const rows = [...this.#rows, ...this.marks]
      .sort((a, b) => a.seconds - b.seconds)
      .map(({ time, seconds, word = "", frame = "", delay_ms = "", face = {} }) => [
        time, seconds, word, frame, delay_ms, ...table.row(face),
      ]);
    const remarks = Object.entries(this.#metadata()).map(
      ([name, value]) => `# ${name}: ${typeof value === "object" ? JSON.stringify(value) : value}\r\n`,
    );
    this.#save([...remarks, toCsv([head, ...rows])], "text/csv", "csv");
  }

  #now() {
    const now = new Date();
    return { time: now.toISOString(), seconds: (now - this.#started) / 1000 };
  }

  #metadata() {
    return {
      program: "Raut",
      started: this.#started.toISOString(),
      ended: this.#ended.at.toISOString(),
      time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      utc_offset_minutes: -this.#started.getTimezoneOffset(),
      readings: this.count,
      marks: this.marks,
      ...this.#ended.about,
    };
  }

  #save(content, type, extension) {
    saveFile(content, type, `raut-${fileStamp(this.#started)}.${extension}`);
    this.saved = true;
  }
}
