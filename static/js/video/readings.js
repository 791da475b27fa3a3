// The readings of a film: one frame for each sample, and what a person shows in it.

export class Readings {
  frames = [];
  /** What the answers name: image size and models. */
  about = {};

  /** @param start,end seconds of the film to read; `rate` is in frames per second */
  constructor({ start, end, rate }) {
    Object.assign(this, { start, end, rate });
    this.count = Math.max(1, Math.ceil((end - start) * rate - 1e-6));
  }

  timeOf(index) {
    return Math.round((this.start + index / this.rate) * 1e6) / 1e6;
  }

  /** Return the frame that is shown at a time; undefined where none was read. */
  at(time) {
    return this.frames[Math.floor((time - this.start) * this.rate + 1e-6)];
  }

  add(index, { faces = [], image, models, problem = null }) {
    this.frames[index] = { index, time: this.timeOf(index), faces, problem: problem?.code ?? null };
    if (image) this.about = { image, models };
  }

  /** Return, by each person's id, the samples that see the person: time and face. */
  series(persons) {
    const series = new Map(persons.all.map(({ id }) => [id, []]));
    for (const { time, faces } of this.frames) {
      for (const face of faces) if (face.detected) series.get(persons.of(face.track, time).id).push({ time, face });
    }
    return series;
  }
}

/** Return the samples whose expression was read, each with its state: a label or "unsure". */
export function statesOf(samples) {
  return samples
    .filter(({ face }) => face.expression)
    .map(({ time, face: { expression } }) => ({ time, state: expression.confident ? expression.label : "unsure" }));
}

/** Join neighbouring samples of one state: `from` and `until` in seconds, and how many they are. */
export function runsOf(samples, rate) {
  const runs = [];
  samples.forEach(({ time, state }) => {
    const last = runs.at(-1);
    const until = time + 1 / rate;
    if (last?.state === state && time - last.until < 0.5 / rate) Object.assign(last, { until, count: last.count + 1 });
    else runs.push({ state, from: time, until, count: 1 });
  });
  return runs;
}
