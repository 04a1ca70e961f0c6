// The map of a history's neighbourhood, computed in a page as maps.py does it.

import { percent } from "./base.js";

const AROUND = 60; // items besides those of the history
const SQUARED = 5; // times that a matrix is squared before it is iterated
const STEPS = 2000;

/**
 * Return the plane of the first two principal components of the history's items and those nearest to their mean.
 *
 * `weights` (n, d) are the item embeddings in one array. The plane has the `places` (n, 2) of its items, NaN for the
 * others; its `mean` (d,) and `axes` [(d,), (d,)]; and the `note` of maps.py.
 */
export function neighbourhood(weights, d, history) {
  const rowOf = (item) => weights.subarray(item * d, (item + 1) * d);
  const shown = around(weights, d, history);
  const mean = meanOf(shown.map(rowOf), d);
  const centred = shown.map((item) => Float64Array.from(rowOf(item), (value, i) => value - mean[i]));
  const spread = covariance(centred, d);
  const [first, left] = parted(spread, d);
  const [second] = parted(left, d);
  const places = new Float32Array((2 * weights.length) / d).fill(NaN);
  const axes = [first.axis, second.axis];
  shown.forEach((item, row) => places.set(axes.map((axis) => dot(axis, centred[row])), 2 * item));
  const share = (first.size + second.size) / traceOf(spread, d);
  const note =
    `The plane shows ${percent(share, 0)} of the variance of these ${shown.length.toLocaleString("en")} items; the ` +
    "others are left out.";
  return { places, mean, axes, note };
}

/** Return the codes of the history's items and of those nearest to their mean; of equally near ones the first. */
function around(weights, d, history) {
  const mean = meanOf(history.map((item) => weights.subarray(item * d, (item + 1) * d)), d);
  const away = new Float64Array(weights.length / d);
  for (let item = 0, at = 0; item < away.length; item++) {
    let sum = 0;
    for (let i = 0; i < d; i++, at++) sum += (weights[at] - mean[i]) * (weights[at] - mean[i]);
    away[item] = sum;
  }
  const most = Math.min(away.length, AROUND + history.length);
  const farthest = away.slice().sort()[most - 1];
  const [nearer, asFar] = [[], []];
  for (let item = 0; item < away.length; item++) {
    if (away[item] < farthest) nearer.push(item);
    else if (away[item] === farthest) asFar.push(item);
  }
  asFar.length = Math.min(asFar.length, most - nearer.length);
  return [...new Set([...nearer, ...asFar, ...history])].sort((one, other) => one - other);
}

function meanOf(rows, d) {
  return Float64Array.from({ length: d }, (_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
}

export function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += one[i] * other[i];
  return sum;
}

function traceOf(matrix, d) {
  let sum = 0;
  for (let i = 0; i < d; i++) sum += matrix[i * d + i];
  return sum;
}

function covariance(rows, d) {
  const found = new Float64Array(d * d);
  for (const row of rows) {
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) found[i * d + j] += row[i] * row[j];
  }
  return found;
}

/**
 * Return the first eigenvector of a symmetric matrix with its eigenvalue, and the matrix without them.
 *
 * By power iteration of a power of the matrix. The sign is that of sklearn: the largest component is positive.
 */
function parted(matrix, d) {
  let power = matrix;
  for (let time = 0; time < SQUARED; time++) power = squared(power, d);
  const best = [...Array(d).keys()].reduce((most, i) => (power[i * d + i] > power[most * d + most] ? i : most), 0);
  let axis = unit(power.slice(best * d, (best + 1) * d));
  for (let step = 0, moved = 1; step < STEPS && moved > 1e-26; step++) {
    const next = unit(times(power, axis, d));
    moved = next.reduce((sum, value, i) => sum + (value - axis[i]) ** 2, 0);
    axis = next;
  }
  const largest = axis.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  if (largest < 0) axis = axis.map((value) => -value);
  const size = dot(axis, times(matrix, axis, d));
  return [{ axis, size }, matrix.map((value, at) => value - size * axis[Math.floor(at / d)] * axis[at % d])];
}

/** Return the square of a symmetric matrix, divided by its trace. */
function squared(matrix, d) {
  const rows = Array.from({ length: d }, (_, i) => matrix.subarray(i * d, (i + 1) * d));
  const found = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) found[i * d + j] = found[j * d + i] = dot(rows[i], rows[j]);
  }
  const trace = traceOf(found, d) || 1;
  return found.map((value) => value / trace);
}

const times = (matrix, vector, d) => vector.map((_, i) => dot(vector, matrix.subarray(i * d, (i + 1) * d)));

function unit(vector) {
  const norm = Math.hypot(...vector) || 1;
  return vector.map((value) => value / norm);
}
