// A film's readings as rows and as subtitles. Times are seconds of the film.

import { changeFrom } from "./baseline.js";
import { runsOf, statesOf } from "./readings.js";

export const isIn = (ranges, time) => ranges.some(({ from, until }) => from <= time && time < until);

/**
 * Return a row for each frame and face; a frame without faces has one, too.
 * @param marks ranges left out (`excluded`), `events` and for each person its `baselines`
 * @param nameOf returns a person's name
 */
export function rowsOf(readings, persons, marks, nameOf) {
  return readings.frames.flatMap(({ index, time, faces, problem }) => {
    const until = readings.frames[index + 1]?.time ?? Infinity;
    const event = marks.events.filter((each) => time <= each.time && each.time < until).map(({ word }) => word).join("; ");
    const frame = { time_s: time, frame: index + 1, excluded: isIn(marks.excluded, time), event, problem: problem ?? "" };
    const rows = faces.flatMap((face) => {
      const person = persons.of(face.track, time);
      if (person?.hidden) return [];
      const baseline = marks.baselines.get(person?.id)?.mean;
      const change = baseline && face.expression ? { change: changeFrom(baseline, face.expression.probabilities) } : {};
      return [{ ...frame, person: nameOf(person), ...face, ...change }];
    });
    return rows.length ? rows : [{ ...frame, person: "" }];
  });
}

/**
 * Return the changing expression of some persons as WebVTT.
 * @param tracks `samples` of each person, and a `name` where cues are to bear it
 * @param word returns the word for a state
 */
export function vttOf(tracks, rate, word) {
  const cues = tracks.flatMap(({ name, samples }) =>
    runsOf(statesOf(samples), rate).map(({ state, from, until }) => ({ from, until, words: name ? `${voice(name)}: ${word(state)}` : word(state) })),
  );
  const lines = cues.sort((one, other) => one.from - other.from).map(({ from, until, words }) => `${stamp(from)} --> ${stamp(until)}\n${words}\n`);
  return ["WEBVTT\n", ...lines].join("\n");
}

// A name may hold what WebVTT takes for markup, and a name of several lines would end the cue.
function voice(name) {
  const safe = name.replace(/\s+/g, " ").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `<v ${safe}>${safe}`;
}

function stamp(seconds) {
  const milliseconds = Math.round(seconds * 1000);
  const part = (size, over, digits = 2) => String(Math.floor(milliseconds / size) % over).padStart(digits, "0");
  return `${part(3_600_000, Infinity)}:${part(60_000, 60)}:${part(1000, 60)}.${part(1, 1000, 3)}`;
}
