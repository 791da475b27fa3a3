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
    return this.start + index / this.rate;
  }

  /** Return the last frame read at a time or before it, within a step. */
  at(time) {
    const index = Math.floor((time - this.start) * this.rate + 1e-6);
    return this.frames[index]?.time > time + 1e-6 ? this.frames[index - 1] : this.frames[index];
  }

  /** Add a sample's answer; the frame that was read is shown from `time` on. */
  add(index, time, { faces = [], image, models, problem = null }) {
    this.frames[index] = { index, time: Math.round(time * 1e6) / 1e6, faces, problem: problem?.code ?? null };
    if (image) this.about = { image, models };
  }

  /** Return, by each person's id, the samples that see the person: index, time and face. */
  series(persons) {
    const series = new Map(persons.all.map(({ id }) => [id, []]));
    for (const { index, time, faces } of this.frames) {
      for (const face of faces) series.get(persons.of(face.track, time).id).push({ index, time, face });
    }
    return series;
  }
}

/** Return the samples whose expression was read, each with its state: a label or "unsure". */
export function statesOf(samples) {
  return samples
    .filter(({ face }) => face.expression)
    .map(({ index, time, face: { expression } }) => ({ index, time, state: expression.confident ? expression.label : "unsure" }));
}

/** Join neighbouring samples of one state: `from` and `until` in seconds, and their indices. */
export function runsOf(samples, rate) {
  const runs = [];
  for (const { index, time, state } of samples) {
    const last = runs.at(-1);
    const follows = last?.end === index;
    if (follows) last.until = time;
    if (follows && last.state === state) Object.assign(last, { end: index + 1, until: time + 1 / rate });
    else runs.push({ state, from: time, until: time + 1 / rate, start: index, end: index + 1 });
  }
  return runs;
}
