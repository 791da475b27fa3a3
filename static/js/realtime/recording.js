// A recording of readings, never of images: kept in this page until it is saved or the page is left.

import { fileStamp, saveFile } from "../dom.js";
import { toCsv } from "../table.js";

export class Recording {
  started = new Date();
  /** Event marks: the time, the seconds since the start, and the word. */
  marks = [];
  /** Whether leaving the page loses nothing. */
  saved = false;
  #rows = [];
  #ended = null;
  #about;

  /** @param about called at the end for the models and settings used */
  constructor(about) {
    this.#about = about;
  }

  get count() {
    return this.#rows.length;
  }

  get seconds() {
    return ((this.#ended ?? Date.now()) - this.started) / 1000;
  }

  stop() {
    this.#ended = new Date();
    this.#about = this.#about();
  }

  /** Add the readings of one answer, `most` at most; `delay` is in milliseconds, from camera to box. */
  add({ frame, faces }, delay, most) {
    const rows = faces.map((face) => ({ ...this.#now(), frame, delay_ms: Math.round(delay), ...face }));
    this.#rows.push(...rows.slice(0, most));
  }

  mark(word) {
    this.marks.push({ ...this.#now(), word });
  }

  saveJson() {
    this.#save(JSON.stringify({ about: this.#metadata(), readings: this.#rows }, null, 1), "application/json", "json");
  }

  /** Save one row for each face and frame, and one for each mark; lines that start with # hold the metadata. */
  saveCsv() {
    const rows = [...this.#rows, ...this.marks]
      .sort((a, b) => a.seconds - b.seconds)
      .map(({ time, seconds, word = "", ...reading }) => ({ time, seconds, mark: word, ...reading }));
    const remarks = Object.entries(this.#metadata()).map(
      ([name, value]) => `# ${name}: ${typeof value === "object" ? JSON.stringify(value) : value}\r\n`,
    );
    this.#save([...remarks, toCsv(rows)], "text/csv", "csv");
  }

  #now() {
    const now = new Date();
    return { time: now.toISOString(), seconds: (now - this.started) / 1000 };
  }

  #metadata() {
    return {
      program: "Raut",
      started: this.started.toISOString(),
      ended: this.#ended.toISOString(),
      time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      utc_offset_minutes: -this.started.getTimezoneOffset(),
      readings: this.count,
      marks: this.marks,
      ...this.#about,
    };
  }

  #save(content, type, extension) {
    saveFile(content, type, `raut-${fileStamp(this.started)}.${extension}`);
    this.saved = true;
  }
}
