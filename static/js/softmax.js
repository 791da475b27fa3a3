// Probabilities of logits.

/** Return the softmax of logits divided by a temperature. */
export function softmax(logits, temperature = 1) {
  const parts = Array.from(logits, (logit) => logit / temperature);
  const sum = exponentiate(parts);
  return parts.map((part) => part / sum);
}

/** Replace logits by their exponentials, divided by the largest; return their sum. */
export function exponentiate(logits) {
  let most = -Infinity;
  for (let k = 0; k < logits.length; k++) most = Math.max(most, logits[k]);
  let sum = 0;
  for (let k = 0; k < logits.length; k++) sum += logits[k] = Math.exp(logits[k] - most);
  return sum;
}
