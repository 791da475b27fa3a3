// What would make a lesson better, from its figures.

const FEW = 10;
const LEAK = 0.1;
const OFTEN = 0.1;
const RISING = 0.02;

/** Return paths of sentences with their values, the most urgent first. */
export function advise({ classes, figures }) {
  const advice = [];
  const { confusion, honest, mixed, curves } = figures;
  const most = Math.max(...classes.map(({ count }) => count));
  for (const { name, count, recordings } of classes) {
    if (recordings < 2) advice.push(["once", { name }]);
    else if (count < FEW || count < most / 2) advice.push(["few", { name, count }]);
  }
  if (honest && mixed && mixed.accuracy - honest.accuracy > LEAK) advice.push(["leak", {}]);
  if (confusion) {
    const wrong = confusion.flatMap((row, r) => row.map((count, c) => ({ count: r === c ? 0 : count, name: classes[r].name, other: classes[c].name, of: classes[r].count })));
    const worst = wrong.reduce((one, other) => (other.count / other.of > one.count / one.of ? other : one));
    if (worst.count / worst.of > OFTEN) advice.push(["taken", worst]);
  }
  const points = curves?.features ?? [];
  if (honest && points.length > 2) {
    advice.push([points.at(-1).accuracy - points.at(-2).accuracy > RISING ? "rising" : "flat", {}]);
  }
  return advice;
}
