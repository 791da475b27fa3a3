// The film page: which film is read, who is in it, and what is shown and saved of it.

import { clone, element, fileStamp, saveFile, say, wireKeys, write } from "../dom.js";
import { wireDropping } from "../dropping.js";
import { className, formatNumber, problemSentence, text } from "../language.js";
import { wireChooser } from "../photo-files.js";
import { connectionOf } from "../realtime/transport.js";
import { toCsv } from "../table.js";
import { baselineOf } from "./baseline.js";
import * as chart from "./chart.js";
import { isIn, rowsOf, vttOf } from "./exports.js";
import * as cards from "./person-cards.js";
import { meet, Persons, suggestPairs } from "./persons.js";
import * as player from "./player.js";
import { FilmReader } from "./reader.js";
import { Readings, statesOf } from "./readings.js";
import { showReport } from "./report-view.js";
import { summarize } from "./report.js";
import { FrameSource } from "./source.js";
import { formatTime, parseTime } from "./times.js";

const REFRESH_MS = 500;
// A report of two hours takes a second, so it waits until nothing changes for a moment.
const REPORT_MS = 300;

const root = element("video-page");
const connection = connectionOf(root);

const edits = {
  choose: (id) => change(() => (chosen = id)),
  rename: (id, name) => change(() => (persons.get(id).name = name)),
  hide: (id, hidden) => change(() => (persons.get(id).hidden = hidden)),
  merge,
  split,
  baseline: markBaseline,
};

let source = new FrameSource();
let film = null; // the file's name, its address, and how long and large it is
let readings = null;
let reader = null;
let persons = new Persons();
let series = new Map();
let marks = noMarks();
let open = {}; // ranges that have begun: `excluded` a time, `baseline` a person and a time
let chosen = null;
let declined = new Set(); // suggestions
let started = null; // when the running reading began, and at which frame
let refreshedAt = 0;
let reportTimer = 0;

const clicks = {
  another: reset,
  play: player.toggle,
  previous: () => step(-1),
  next: () => step(1),
  pause: () => (reader.running ? pause("paused") : run()),
  cancel: () => cancel(),
  "zoom-in": () => chart.zoom(0.5),
  "zoom-out": () => chart.zoom(2),
  "zoom-all": () => chart.zoom(Infinity),
  exclude: markExcluded,
  "save-csv": () => save("csv", "text/csv", toCsv(rows())),
  "save-json": () => save("json", "application/json", describe()),
  "save-vtt": () => save(`${nameOf(persons.get(chosen))}.vtt`, "text/vtt", subtitles([{ samples: series.get(chosen) ?? [] }])),
  "save-all-vtt": () => save("vtt", "text/vtt", subtitles(shownPersons().map((person) => ({ name: nameOf(person), samples: series.get(person.id) })))),
  "save-png": async () => save("png", "image/png", await chart.picture()),
  print: () => window.print(),
};
for (const [id, action] of Object.entries(clicks)) element(id).addEventListener("click", action);
wireChooser(element("choose"), element("file"), ([file]) => file && openFilm(file));
element("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
element("event-form").addEventListener("submit", (event) => {
  event.preventDefault();
  markEvent();
});
element("seek").addEventListener("input", ({ target }) => player.seek(Number(target.value)));
element("changes").addEventListener("change", showChart);
for (const name of ["play", "pause"]) {
  element("video").addEventListener(name, () => write(element("play"), text(name === "play" ? "stop_playing" : "play")));
}
wireKeys(element("view"), {
  " ": player.toggle,
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  ",": () => step(-1),
  ".": () => step(1),
  e: markEvent,
});
player.wirePlayer(showTime);
chart.wireChart(player.seek);
wireDropping(({ files: [file] }) => file && openFilm(file));
window.addEventListener("pagehide", () => reader?.pause());
window.addEventListener("beforeunload", (event) => readings?.frames.length && event.preventDefault());

async function openFilm(file) {
  reset();
  write(element("open-note"), text("opening"));
  const address = URL.createObjectURL(file);
  try {
    film = { name: file.name, address, ...(await source.open(address)) };
  } catch {
    URL.revokeObjectURL(address);
    return write(element("open-note"), text("not_playable"));
  }
  write(element("open-note"), "");
  element("before").hidden = true;
  element("film").hidden = false;
  write(element("film-title"), film.name);
  element("view").style.setProperty("--ratio", String(film.width / film.height));
  element("until").value = formatTime(film.duration);
  element("seek").max = String(film.duration);
  player.open(address);
  setState("ready");
  showPersons();
  element("film-title").focus();
}

/** Forget the film and all that was read of it. */
function reset() {
  reader?.pause();
  if (film) URL.revokeObjectURL(film.address);
  source.close();
  source = new FrameSource();
  film = null;
  forget();
  element("before").hidden = false;
  element("film").hidden = true;
}

function forget() {
  reader = null;
  readings = null;
  persons = new Persons();
  marks = noMarks();
  open = {};
  chosen = null;
  declined = new Set();
  cards.clear();
  chart.clear();
  player.showFaces(() => null);
  showMarks();
  showReport([], "");
  element("suggestions").replaceChildren();
  element("downloads").hidden = true;
  element("changes").checked = false;
}

function start() {
  const range = { start: parseTime(element("from").value), end: Math.min(film.duration, parseTime(element("until").value)) };
  if (!(range.start < range.end)) return say(text("range_invalid", { end: formatTime(film.duration) }));
  forget();
  readings = new Readings({ ...range, rate: Number(element("rate").value) });
  reader = new FilmReader(connection, source, readings, {
    read: showFrame,
    problem: (problem) => say(problemSentence(problem)),
    connected: (how) => say(text(how === "socket" ? "reading" : "reading_photos")),
    waiting: (reason, wait) => say([text(`closed.${reason}`), text("waiting", { seconds: formatNumber(Math.ceil(wait / 1000)) })].join(" ")),
    rejected: (reason) => pause(`closed.${reason}`),
    ended: () => finish("done"),
  });
  player.showFaces(facesAt);
  run();
}

function run() {
  started = { at: performance.now(), done: reader.done };
  setState("reading");
  say(text("connecting"));
  reader.run();
}

function pause(reason) {
  reader.pause();
  setState("paused");
  say(text(reason));
  refresh();
}

/** End the reading; what was read so far stays. */
function cancel() {
  reader.pause();
  finish("cancelled");
}

function finish(reason) {
  setState("done");
  say(text(reason, { count: formatNumber(reader.done) }));
  refresh();
}

function setState(state) {
  root.dataset.reading = state;
  const running = state === "reading" || state === "paused";
  element("start").hidden = running;
  for (const id of ["pause", "cancel"]) element(id).hidden = !running;
  for (const id of ["rate", "from", "until"]) element(id).disabled = running;
  write(element("pause"), text(state === "paused" ? "resume" : "pause"));
  element("progress-row").hidden = state === "ready";
}

function showFrame(faces, blob) {
  for (const { track } of faces) persons.add(track);
  cards.keepPictures(faces, blob, readings.about.image);
  showProgress();
  const now = performance.now();
  if (now - refreshedAt < REFRESH_MS) return;
  refresh({ running: true });
  // A long film's refresh takes longer, and comes less often.
  refreshedAt = performance.now() + 4 * (performance.now() - now);
}

function showProgress() {
  const { count } = readings;
  element("progress").value = reader.done / count;
  const passed = (performance.now() - started.at) / 1000;
  const left = ((count - reader.done) * passed) / Math.max(1, reader.done - started.done);
  const values = { done: formatNumber(reader.done), count: formatNumber(count), left: formatTime(left, 0) };
  write(element("progress-text"), text("progress", values));
}

/** Show what follows from the readings, the persons and the marks. */
function refresh({ running = false } = {}) {
  if (!readings) return;
  series = readings.series(persons);
  if (!persons.get(chosen)) chosen = shownPersons()[0]?.id ?? null;
  showPersons();
  showChart();
  player.draw();
  if (running) return;
  showSuggestions();
  clearTimeout(reportTimer);
  reportTimer = setTimeout(() => readings && showReport(reports(), settingsInWords()), REPORT_MS);
  element("downloads").hidden = readings.frames.length === 0;
}

function change(edit) {
  edit();
  refresh({ running: reader?.running });
  showMarks();
}

function showPersons() {
  const { baselines } = marks;
  cards.show(persons, { series, chosen, baselines, marking: open.baseline?.person, nameOf }, edits);
  write(element("exclude"), text("excluded" in open ? "exclude_until" : "exclude_from"));
}

function showChart() {
  if (!readings) return;
  const baseline = marks.baselines.get(chosen);
  element("baseline-row").hidden = !baseline;
  write(element("chart-person"), chosen ? nameOf(persons.get(chosen)) : "");
  chart.show({
    start: readings.start,
    end: readings.end,
    rate: readings.rate,
    samples: series.get(chosen) ?? [],
    lanes: shownPersons().map(({ id }) => ({ index: id - 1, label: String(id), samples: series.get(id) })),
    marks: { ...marks, baseline },
    baseline: baseline?.mean,
    changes: Boolean(baseline && element("changes").checked),
  });
}

function showSuggestions() {
  const pairs = suggestPairs(new Map([...series].filter(([id]) => !persons.get(id).hidden)));
  const keyOf = ({ person, other }) => `${person} ${other}`;
  element("suggestions").replaceChildren(
    ...pairs.filter((pair) => !declined.has(keyOf(pair))).map((pair) => {
      const suggestion = clone("suggestion");
      const [person, other] = [pair.person, pair.other].map((id) => nameOf(persons.get(id)));
      write(suggestion.querySelector("p"), text("suggestion", { person, other, time: formatTime(pair.time) }));
      suggestion.addEventListener("click", ({ target }) => {
        if (target.value === "yes") merge(pair.other, pair.person);
        if (target.value === "no") change(() => declined.add(keyOf(pair)));
      });
      return suggestion;
    }),
  );
}

function merge(id, into) {
  if (!into) return;
  if (meet(series.get(id), series.get(into))) return say(text("both_visible"));
  change(() => {
    persons.merge(into, id);
    marks.baselines.delete(id);
    chosen = into;
  });
}

function split(id) {
  const time = player.time();
  const samples = series.get(id);
  if (!samples.length || samples[0].time >= time || samples.at(-1).time < time) return say(text("nothing_to_split"));
  change(() => (chosen = persons.split(id, time)));
}

function markBaseline(id) {
  const from = open.baseline?.person === id ? open.baseline.from : null;
  if (marks.baselines.has(id)) return change(() => marks.baselines.delete(id));
  if (from === null) return change(() => (open.baseline = { person: id, from: player.time() }));
  const range = orderTimes(from, player.time());
  const mean = baselineOf(series.get(id).filter(({ time }) => isIn([range], time)));
  change(() => {
    delete open.baseline;
    if (mean) marks.baselines.set(id, { ...range, mean });
    chosen = id;
  });
  say(text(mean ? "baseline_set" : "baseline_empty"));
}

function markExcluded() {
  change(() => {
    if (!("excluded" in open)) return (open.excluded = player.time());
    marks.excluded.push(orderTimes(open.excluded, player.time()));
    delete open.excluded;
  });
}

function markEvent() {
  const word = element("event-word").value.trim() || text("mark");
  change(() => {
    marks.events.push({ time: player.time(), word });
    marks.events.sort((one, other) => one.time - other.time);
  });
}

function showMarks() {
  const items = (list, words) =>
    list.map((mark) => {
      const item = clone("mark");
      write(item.querySelector("span"), words(mark));
      item.querySelector("button").addEventListener("click", () => change(() => list.splice(list.indexOf(mark), 1)));
      return item;
    });
  element("events").replaceChildren(...items(marks.events, ({ time, word }) => `${formatTime(time)} ${word}`));
  element("excluded").replaceChildren(...items(marks.excluded, ({ from, until }) => `${formatTime(from)} – ${formatTime(until)}`));
}

function facesAt(time) {
  const frame = readings.at(time);
  if (!frame || !readings.about.image) return null;
  const faces = frame.faces.flatMap((face) => {
    const person = persons.of(face.track, frame.time);
    return person.hidden ? [] : [{ face, name: person.name || person.id, index: person.id - 1 }];
  });
  return { image: readings.about.image, faces };
}

function showTime(time) {
  element("seek").value = String(time);
  write(element("time"), formatTime(time));
  chart.moveTo(time);
}

function step(frames) {
  const { start: first = 0, rate = Number(element("rate").value) } = readings ?? {};
  const index = Math.round((player.time() - first) * rate) + frames;
  player.seek(Math.min(film.duration, Math.max(0, first + index / rate)));
}

function reports() {
  return shownPersons().map((person) => {
    const states = statesOf(series.get(person.id).filter(({ time }) => !isIn(marks.excluded, time)));
    return { name: nameOf(person), ...summarize(states, readings.rate) };
  });
}

function settingsInWords() {
  return text("report_settings", {
    rate: formatNumber(readings.rate),
    from: formatTime(readings.start),
    until: formatTime(readings.end),
    models: Object.entries(readings.about.models ?? {}).map((model) => model.join(" ")).join(", "),
    version: root.dataset.version,
  });
}

const shownPersons = () => persons.all.filter(({ hidden }) => !hidden);

const rows = () => rowsOf(readings, persons, marks, nameOf);

const subtitles = (tracks) => vttOf(tracks, readings.rate, (state) => (state === "unsure" ? text("unsure") : className(state)));

function describe() {
  const about = {
    program: "Raut",
    version: root.dataset.version,
    made: new Date().toISOString(),
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    film: film.name,
    duration_s: film.duration,
    ...readings.about,
    settings: { rate: readings.rate, from_s: readings.start, until_s: readings.end, transport: reader.transport, ...connection.choice },
    meaning: root.dataset.meaning,
  };
  const baselines = [...marks.baselines].map(([id, baseline]) => ({ person: nameOf(persons.get(id)), ...baseline }));
  return JSON.stringify({ about, report: reports(), excluded: marks.excluded, events: marks.events, baselines, readings: rows() }, null, 1);
}

const save = (ending, type, content) =>
  saveFile(content, type, `raut-${film.name.replace(/\.\w+$/, "")}-${fileStamp(new Date())}.${ending}`);

const nameOf = (person) => person.name || text("person", { number: person.id });

const orderTimes = (one, other) => ({ from: Math.min(one, other), until: Math.max(one, other) });

function noMarks() {
  return { excluded: [], events: [], baselines: new Map() };
}
