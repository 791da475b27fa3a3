// A lesson: classes, and samples of them, each with what the server made of its picture.

const FORMAT = { format: "raut-lesson", format_version: 1 };
export const MOST_CLASSES = 8;
// What the matrix of all pairs of samples leaves smooth.
export const MOST_SAMPLES = 1000;
const THUMBNAIL = /^data:image\/(jpeg|png);base64,[\w+/=]*$/;

// Unique in the page: the worker knows samples by it.
let ids = 0;

export class Lesson {
  /** The body's version, which all samples share; null before the first. */
  version = null;
  region;
  classes = [];
  samples = [];
  #recordings = 0;

  constructor(region) {
    this.region = region;
  }

  addClass(name) {
    const kind = { name, en: "", id: "" };
    this.classes.push(kind);
    return kind;
  }

  removeClass(kind) {
    this.classes.splice(this.classes.indexOf(kind), 1);
    this.samples = this.samples.filter((sample) => sample.kind !== kind);
  }

  /** Number a press of a button or a drop of photos. */
  startRecording() {
    return ++this.#recordings;
  }

  add(kind, recording, { features, pixels, thumbnail }) {
    const sample = { id: ++ids, kind, recording, features, pixels, thumbnail };
    this.samples.push(sample);
    return sample;
  }

  remove(sample) {
    this.samples.splice(this.samples.indexOf(sample), 1);
  }

  of(kind) {
    return this.samples.filter((sample) => sample.kind === kind);
  }

  recordingsOf(kind) {
    return new Set(this.of(kind).map(({ recording }) => recording)).size;
  }

  /** Classes with samples: what can be learned. */
  get taught() {
    return this.classes.filter((kind) => this.samples.some((sample) => sample.kind === kind));
  }

  /** Classes whose names differ in capitals and spaces alone. */
  get alike() {
    const names = this.classes.map(({ name }) => plain(name));
    return this.classes.filter((_, at) => names.indexOf(names[at]) !== names.lastIndexOf(names[at]));
  }

  /** Pairs of classes that have the same sample, and how many. */
  get twins() {
    const kinds = new Map();
    const pairs = new Map();
    for (const { kind, features } of this.samples) {
      const first = kinds.get(features) ?? kind;
      kinds.set(features, first);
      if (first === kind) continue;
      const key = [first, kind].map((each) => this.classes.indexOf(each)).sort().join();
      const pair = pairs.get(key) ?? { one: first.name, other: kind.name, count: 0 };
      pairs.set(key, { ...pair, count: pair.count + 1 });
    }
    return [...pairs.values()];
  }

  /** Return whether a class has the very picture of other features, in another recording. */
  has(kind, recording, features) {
    return this.of(kind).some((sample) => sample.features === features && sample.recording !== recording);
  }

  toJson() {
    const { version, region, classes } = this;
    const samples = this.samples.map(({ id, kind, ...sample }) => ({ class: classes.indexOf(kind), ...sample }));
    return JSON.stringify({ ...FORMAT, region, version, classes, samples });
  }

  /** Return the lesson of a file's text; throw for any other text. */
  static parse(text) {
    const { format, format_version: formatVersion, region, version, classes, samples } = JSON.parse(text);
    check(format === FORMAT.format && formatVersion === FORMAT.format_version);
    check(["face", "image"].includes(region) && /^\w+$/.test(version));
    check(classes.length <= MOST_CLASSES && samples.length && samples.length <= MOST_SAMPLES);
    const lesson = new Lesson(region);
    lesson.version = version;
    for (const { name, en = "", id = "" } of classes) {
      check([name, en, id].every((each) => typeof each === "string"));
      Object.assign(lesson.addClass(name), { en, id });
    }
    for (const { class: at, recording, ...sample } of samples) {
      check(Number.isInteger(at) && lesson.classes[at] && Number.isInteger(recording) && THUMBNAIL.test(sample.thumbnail));
      check(["features", "pixels"].every((name) => sample[name]?.length && sample[name].length === samples[0][name].length));
      // Decoding would take a second of the page's thread; `atob` alone throws for what is no base64.
      check(atob(sample.features).length % 4 === 0 && atob(sample.pixels).length);
      lesson.#recordings = Math.max(lesson.#recordings, recording);
      lesson.add(lesson.classes[at], recording, sample);
    }
    return lesson;
  }
}

/** Return a name as one hears it. */
export const plain = (name) => name.normalize("NFKC").trim().replace(/\s+/g, " ").toLowerCase();

function check(condition) {
  if (!condition) throw new Error("This is no lesson.");
}
