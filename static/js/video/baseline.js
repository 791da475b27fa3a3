// A person's own baseline: how far a reading's log-odds are from their mean over some seconds.

// Probabilities come with four decimals.
const LEAST = 1e-4;

const logOdds = (probability) => {
  const within = Math.min(1 - LEAST, Math.max(LEAST, probability));
  return Math.log(within / (1 - within));
};

/** Return the mean log-odds of each class over samples; null where no expression is read in them. */
export function baselineOf(samples) {
  const read = samples.filter(({ face }) => face.expression && !face.expression.reason);
  if (!read.length) return null;
  const names = Object.keys(read[0].face.expression.probabilities);
  const mean = (name) => read.reduce((sum, { face }) => sum + logOdds(face.expression.probabilities[name]), 0) / read.length;
  return Object.fromEntries(names.map((name) => [name, mean(name)]));
}

/** Return each class's change from the baseline, in log-odds. */
export function changeFrom(baseline, probabilities) {
  return Object.fromEntries(
    Object.entries(probabilities).map(([name, probability]) => [name, Math.round((logOdds(probability) - baseline[name]) * 1e4) / 1e4]),
  );
}
