// A recording of readings, never of pictures: kept in this page until it is saved or the page is left.

import { csvText, faceTable, save } from "../downloads.js";

// About two hours of one face, or 100 MB in the browser.
const MOST_READINGS = 200_000;

export class Recording {
  #rows = [];
  #started = null;
  #ended = null;
  #about;

  /** @param about called at the end for what the readings were made with */
  constructor(about) {
    this.#about = about;
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
    if (this.running) this.#ended = { at: new Date(), about: this.#about() };
  }

  /** Keep the readings of one answer; `delay` is in milliseconds, from camera to box. */
  add({ frame, faces }, delay) {
    const time = new Date().toISOString();
    for (const face of faces) {
      if (this.full) return;
      this.#rows.push({ time, frame, delay_ms: Math.round(delay), face });
    }
  }

  saveJson() {
    const readings = this.#rows.map(({ face, ...rest }) => ({ ...rest, ...face }));
    const content = JSON.stringify({ about: this.#metadata(), readings }, null, 1);
    save(new Blob([content], { type: "application/json" }), `${this.#name()}.json`);
  }

  /** Save one row for each face and frame; the lines that start with # tell how they were made. */
  saveCsv() {
    const table = faceTable(this.#rows.map(({ face }) => face));
    const head = ["time", "frame", "delay_ms", ...table.head];
    const rows = this.#rows.map(({ time, frame, delay_ms, face }) => [time, frame, delay_ms, ...table.row(face)]);
    const remarks = Object.entries(this.#metadata()).map(([name, value]) => {
      const written = typeof value === "object" ? JSON.stringify(value) : value;
      return `# ${name}: ${written}\r\n`;
    });
    save(new Blob([...remarks, csvText([head, ...rows])], { type: "text/csv" }), `${this.#name()}.csv`);
  }

  #metadata() {
    return {
      program: "Raut",
      started: this.#started.toISOString(),
      ended: this.#ended.at.toISOString(),
      time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      utc_offset_minutes: -this.#started.getTimezoneOffset(),
      readings: this.#rows.length,
      ...this.#ended.about,
    };
  }

  #name() {
    const stamp = this.#started.toISOString().slice(0, 19).replaceAll(":", "-");
    return `raut-${stamp}Z`;
  }
}
