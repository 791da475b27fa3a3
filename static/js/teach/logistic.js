// Multinomial logistic regression with L2, in the space of the samples: features have thousands of
// dimensions, samples are some hundreds, and all that is needed of them is their Gram matrix.

import { exponentiate } from "../softmax.js";

const MEMORY = 12;
const MOST_ITERATIONS = 1000;
const SUFFICIENT_DECREASE = 1e-4;

/** Return a·b. */
export function dot(a, b) {
  // Two sums at once keep the processor busy.
  let one = 0;
  let two = 0;
  let i = 0;
  for (; i + 1 < a.length; i += 2) {
    one += a[i] * b[i];
    two += a[i + 1] * b[i + 1];
  }
  return i < a.length ? one + two + a[i] * b[i] : one + two;
}

/** The inner products of all samples, kept up as samples come and go. */
export class Gram {
  #vectors = [];
  #rows = [];

  get length() {
    return this.#vectors.length;
  }

  add(vector) {
    this.#vectors.push(vector);
    const row = this.#vectors.map((other) => dot(vector, other));
    this.#rows.forEach((each, index) => each.push(row[index]));
    this.#rows.push(row);
  }

  remove(index) {
    this.#vectors.splice(index, 1);
    this.#rows.splice(index, 1);
    for (const row of this.#rows) row.splice(index, 1);
  }

  /**
   * Return the kernel of some samples, by their indices: inner products about their mean, divided by
   * their mean squared distance from it, so that one strength means the same for all features.
   */
  kernel(train) {
    const n = train.length;
    const mean = this.#rows.map((row) => train.reduce((sum, at) => sum + row[at], 0) / n);
    const middle = train.reduce((sum, at) => sum + mean[at], 0) / n;
    const centred = (one, other) => this.#rows[one][other] - mean[one] - mean[other] + middle;
    const scale = train.reduce((sum, at) => sum + centred(at, at), 0) / n || 1;
    return {
      scale,
      matrix: Float64Array.from({ length: n * n }, (_, at) => centred(train[(at / n) | 0], train[at % n]) / scale),
      row: (index) => Float64Array.from(train, (at) => centred(index, at) / scale),
    };
  }

  /** Return weights and biases for raw features: logits are weights·features + bias. */
  unfold(train, { scale }, { alpha, bias }) {
    const classes = bias.length;
    const mean = new Float64Array(this.#vectors[0].length);
    for (const at of train) this.#vectors[at].forEach((value, d) => (mean[d] += value / train.length));
    const weights = Array.from({ length: classes }, (_, c) => {
      const sum = new Float64Array(mean.length);
      train.forEach((at, i) => {
        const [factor, vector] = [alpha[c * train.length + i] / scale, this.#vectors[at]];
        for (let d = 0; d < sum.length; d++) sum[d] += factor * (vector[d] - mean[d]);
      });
      return Float32Array.from(sum);
    });
    return { weights, bias: weights.map((each, c) => bias[c] - dot(each, mean)) };
  }
}

/** Return the logits of a sample, by its row of the kernel. */
export const logitsOf = (row, { alpha, bias }) =>
  Array.from(bias, (value, c) => value + dot(row, alpha.subarray(c * row.length, (c + 1) * row.length)));

/**
 * Minimise ½‖w‖² + C·Σ cross-entropy by L-BFGS (Liu and Nocedal 1989), as scikit-learn's
 * LogisticRegression does; the bias is not penalised.
 * @param labels each sample's class, as a number
 * @param start a solution to begin from: that of another strength
 * @param tolerance of the gradient, as a share of what the samples' losses could move it by
 */
export function fit({ matrix }, labels, classes, strength, { start, tolerance = 1e-6 } = {}) {
  const n = labels.length;
  const size = n * classes;
  // scikit-learn has one vector of weights for two classes, which costs twice as much as two halves.
  const c = classes === 2 ? strength / 2 : strength;
  // A vector holds coefficients of the samples, the kernel's product with them, and biases: so inner
  // products of weights cost no product with the kernel.
  const x = new Float64Array(2 * size + classes);
  if (start) {
    x.set(start.alpha);
    x.set(start.bias, 2 * size);
    multiply(matrix, x, n, classes);
  }
  const penalty = (one, other) => dot(one.subarray(0, size), other.subarray(size, 2 * size));
  const inner = (one, other) => penalty(one, other) + dot(one.subarray(2 * size), other.subarray(2 * size));
  const loss = (step, direction) => c * crossEntropy(x, direction, step, labels, classes);
  const gradient = () => {
    const g = new Float64Array(x.length);
    const logits = new Float64Array(classes);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < classes; k++) logits[k] = x[size + k * n + i] + x[2 * size + k];
      const sum = exponentiate(logits);
      for (let k = 0; k < classes; k++) {
        const residual = c * (logits[k] / sum - (labels[i] === k));
        g[k * n + i] = x[k * n + i] + residual;
        g[2 * size + k] += residual;
      }
    }
    multiply(matrix, g, n, classes);
    return g;
  };

  const history = [];
  let g = gradient();
  let value = penalty(x, x) / 2 + loss(0, x);
  for (let iteration = 0; iteration < MOST_ITERATIONS; iteration++) {
    const steepness = inner(g, g);
    if (Math.sqrt(steepness) <= tolerance * c * n) break;
    const direction = descend(g, history, inner);
    const slope = inner(g, direction);
    const [cross, square] = [penalty(x, direction), penalty(direction, direction)];
    const base = penalty(x, x) / 2;
    let step = history.length ? 1 : 1 / Math.sqrt(steepness);
    let next;
    // Along the direction all products are known, so a shorter step costs little.
    for (; step > 1e-12; step /= 2) {
      next = base + step * cross + (step * step * square) / 2 + loss(step, direction);
      if (next <= value + SUFFICIENT_DECREASE * step * slope) break;
    }
    if (step <= 1e-12) break;
    value = next;
    const moved = direction;
    for (let i = 0; i < x.length; i++) x[i] += moved[i] *= step;
    const change = g;
    g = gradient();
    for (let i = 0; i < g.length; i++) change[i] = g[i] - change[i];
    const curvature = inner(moved, change);
    if (curvature > 0) history.push({ moved, change, curvature });
    if (history.length > MEMORY) history.shift();
  }
  return { alpha: x.slice(0, size), bias: x.slice(2 * size) };
}

/** Write the kernel's product with a vector's coefficients into the vector. */
function multiply(matrix, vector, n, classes) {
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < classes; k++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += matrix[i * n + j] * vector[k * n + j];
      vector[(classes + k) * n + i] = sum;
    }
  }
}

function crossEntropy(x, direction, step, labels, classes) {
  const n = labels.length;
  const logits = new Float64Array(classes);
  let total = 0;
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < classes; k++) {
      const [at, bias] = [(classes + k) * n + i, 2 * classes * n + k];
      logits[k] = x[at] + x[bias] + step * (direction[at] + direction[bias]);
    }
    const own = logits[labels[i]];
    const most = Math.max(...logits);
    total += Math.log(exponentiate(logits)) + most - own;
  }
  return total;
}

/** Return the direction of L-BFGS by its two loops. */
function descend(gradient, history, inner) {
  const direction = new Float64Array(gradient.length);
  for (let i = 0; i < direction.length; i++) direction[i] = -gradient[i];
  const factors = history.map(() => 0);
  const add = (factor, other) => {
    for (let i = 0; i < direction.length; i++) direction[i] += factor * other[i];
  };
  for (let at = history.length - 1; at >= 0; at--) {
    const { moved, change, curvature } = history[at];
    factors[at] = inner(moved, direction) / curvature;
    add(-factors[at], change);
  }
  const last = history.at(-1);
  if (last) {
    const scale = last.curvature / inner(last.change, last.change);
    for (let i = 0; i < direction.length; i++) direction[i] *= scale;
  }
  history.forEach(({ moved, change, curvature }, at) => add(factors[at] - inner(change, direction) / curvature, moved));
  return direction;
}
