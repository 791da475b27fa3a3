// A recording of readings, never of images: kept in this page until it is saved or the page is left.

import { fileStamp, saveFile } from "../dom.js";
import { faceTable, toCsv } from "../table.js";

// About two hours of one face, or 100 MB in the browser.
const MOST_READINGS = 200_000;

export class Recording {
  #rows = [];
  #started = null;
  #ended = null;
  #describe;

  /** @param describe called at the end for the models and settings used */
  constructor(describe) {
    this.#describe = describe;
  }

  get running() {
    return this.#started !== null && this.#ended === null;
  }

  get count() {
    return this.#rows.length;
  }

  get full() {
    return this.#rows.length >= MOST_READINGS;
  }

  start() {
    this.#rows = [];
    this.#started = new Date();
    this.#ended = null;
  }

  stop() {
    if (this.running) this.#ended = { at: new Date(), about: this.#describe() };
  }

  /** Add the readings of one answer; `delay` is in milliseconds, from camera to box. */
  add({ frame, faces }, delay) {
    const time = new Date().toISOString();
    const rows = faces.map((face) => ({ time, frame, delay_ms: Math.round(delay), face }));
    this.#rows.push(...rows.slice(0, MOST_READINGS - this.count));
  }

  saveJson() {
    const readings = this.#rows.map(({ face, ...rest }) => ({ ...rest, ...face }));
    saveFile(JSON.stringify({ about: this.#metadata(), readings }, null, 1), "application/json", this.#name("json"));
  }

  /** Save one row for each face and frame; lines that start with # hold the metadata. */
  saveCsv() {
    const table = faceTable(this.#rows.map(({ face }) => face));
    const head = ["time", "frame", "delay_ms", ...table.head];
    const rows = this.#rows.map(({ time, frame, delay_ms, face }) => [time, frame, delay_ms, ...table.row(face)]);
    const remarks = Object.entries(this.#metadata()).map(
      ([name, value]) => `# ${name}: ${typeof value === "object" ? JSON.stringify(value) : value}\r\n`,
    );
    saveFile([...remarks, toCsv([head, ...rows])], "text/csv", this.#name("csv"));
  }

  #metadata() {
    return {
      program: "Raut",
      started: this.#started.toISOString(),
      ended: this.#ended.at.toISOString(),
      time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      utc_offset_minutes: -this.#started.getTimezoneOffset(),
      readings: this.count,
      ...this.#ended.about,
    };
  }

  #name(extension) {
    return `raut-${fileStamp(this.#started)}.${extension}`;
  }
}
