// What a person shows, in figures: shares with intervals, longest stretches, changes.

import { runsOf } from "./readings.js";

const RESAMPLES = 1000;
const SEED = 1;

/**
 * Summarise a person's samples. The intervals are 95% percentile intervals of the stationary
 * bootstrap (Politis and Romano, 1994): neighbouring frames are alike, so blocks of them are drawn, on
 * average twice as long as the mean stretch of one state, or the cube root of their number if longer.
 * @param seen index, time and state (a class or "unsure") of each sample that sees the person
 */
export function summarize(seen, rate) {
  const runs = runsOf(seen, rate);
  const block = blockLength(seen.length, runs.length);
  const words = [...new Set(seen.map(({ state }) => state))];
  const shares = words.map((state) => {
    const hits = seen.map((sample) => (sample.state === state ? 1 : 0));
    const share = hits.reduce((sum, hit) => sum + hit, 0) / hits.length;
    const [low, high] = bootstrap(hits, block);
    const longest = Math.max(...runs.filter((run) => run.state === state).map(({ start, end }) => end - start));
    return { state, share, low, high, longest_s: longest / rate };
  });
  return {
    seen_s: seen.length / rate,
    block_s: block / rate,
    changes: countChanges(runs),
    shares: shares.sort((one, other) => other.share - one.share),
  };
}

const blockLength = (count, runs) =>
  Math.max(1, Math.min(Math.ceil(count / 4), Math.max(Math.ceil(Math.cbrt(count)), Math.round((2 * count) / (runs || 1)))));

/** Count how often one expression follows another while the face stays; "unsure" between them is no change. */
function countChanges(runs) {
  let changes = 0;
  let shown = null;
  runs.forEach((run, index) => {
    if (index && run.start > runs[index - 1].end) shown = null;
    if (run.state === "unsure") return;
    if (shown && shown !== run.state) changes += 1;
    shown = run.state;
  });
  return changes;
}

function bootstrap(hits, block) {
  const count = hits.length;
  const sums = [0];
  for (let index = 0; index < 2 * count; index += 1) sums.push(sums[index] + hits[index % count]);
  const random = randomNumbers(SEED);
  const means = Array.from({ length: RESAMPLES }, () => {
    let hit = 0;
    for (let left = count; left > 0; ) {
      const start = Math.floor(random() * count);
      const length = Math.min(left, block > 1 ? Math.ceil(Math.log(1 - random()) / Math.log(1 - 1 / block)) || 1 : 1);
      hit += sums[start + length] - sums[start];
      left -= length;
    }
    return hit / count;
  }).sort((one, other) => one - other);
  return [means[Math.floor(0.025 * RESAMPLES)], means[Math.ceil(0.975 * RESAMPLES) - 1]];
}

// The same report each time: mulberry32, as Math.random has no seed.
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
