// What several task vectors agree on, entry by entry. Pointers and weights of the inputs lie in the list area; sums run
// over the inputs in their order, from 0.

import { LIST_POINTERS, LIST_WEIGHTS } from "./layout";

// @ts-ignore: decorator
@inline
function listed(j: i32): usize {
  return <usize>load<u32>(LIST_POINTERS + ((<usize>j) << 2));
}

// @ts-ignore: decorator
@inline
function weightOf(j: i32): v128 {
  return v128.load64_splat(LIST_WEIGHTS + ((<usize>j) << 3));
}

/** All ones where x has the elected sign; 0 never has. */
// @ts-ignore: decorator
@inline
function agreement(x: v128, positive: v128, zero: v128): v128 {
  return v128.bitselect(f64x2.gt(x, zero), f64x2.lt(x, zero), positive);
}

// @ts-ignore: decorator
@inline
function quotient(normalize: bool, sum: v128, weights: v128, limits: v128): v128 {
  if (!normalize) return sum;
  return v128.bitselect(sum, f64x2.div(sum, weights), f64x2.lt(f64x2.abs(weights), limits));
}

/** Two elements; returns 0, or NaN where the vote is not finite. */
// @ts-ignore: decorator
@inline
function elect(normalize: bool, out: usize, at: usize, inputs: i32, limits: v128): v128 {
  const zero = f64x2.splat(0);
  let total = zero;
  for (let j = 0; j < inputs; j++) total = f64x2.add(total, f64x2.mul(v128.load(listed(j) + at), weightOf(j)));
  const positive = f64x2.ge(total, zero);
  let agreed = zero;
  let weights = zero;
  for (let j = 0; j < inputs; j++) {
    const weight = weightOf(j);
    const x = f64x2.mul(v128.load(listed(j) + at), weight);
    const agrees = agreement(x, positive, zero);
    agreed = f64x2.add(agreed, v128.and(x, agrees));
    if (normalize) weights = f64x2.add(weights, v128.and(weight, agrees));
  }
  v128.store(out + at, quotient(normalize, agreed, weights, limits));
  return f64x2.sub(total, total);
}

/** The same for two inputs, whose values stay in registers. */
// @ts-ignore: decorator
@inline
function electOfTwo(normalize: bool, out: usize, x: v128, y: v128, wx: v128, wy: v128, limits: v128): v128 {
  const zero = f64x2.splat(0);
  const a = f64x2.mul(x, wx);
  const b = f64x2.mul(y, wy);
  const total = f64x2.add(f64x2.add(zero, a), b);
  const positive = f64x2.ge(total, zero);
  const first = agreement(a, positive, zero);
  const second = agreement(b, positive, zero);
  const agreed = f64x2.add(f64x2.add(zero, v128.and(a, first)), v128.and(b, second));
  const weights = normalize ? f64x2.add(f64x2.add(zero, v128.and(wx, first)), v128.and(wy, second)) : zero;
  v128.store(out, quotient(normalize, agreed, weights, limits));
  return f64x2.sub(total, total);
}

// @ts-ignore: decorator
@inline
function consensus(normalize: bool, out: usize, inputs: i32, n: i32, limit: f64): i32 {
  const limits = f64x2.splat(limit);
  let bad = f64x2.splat(0);
  const end = (<usize>(n & ~1)) << 3;
  if (inputs == 2) {
    const x = listed(0);
    const y = listed(1);
    const wx = weightOf(0);
    const wy = weightOf(1);
    for (let at: usize = 0; at < end; at += 16) {
      const difference = electOfTwo(normalize, out + at, v128.load(x + at), v128.load(y + at), wx, wy, limits);
      bad = f64x2.add(bad, difference);
    }
  } else {
    for (let at: usize = 0; at < end; at += 16) bad = f64x2.add(bad, elect(normalize, out, at, inputs, limits));
  }
  let isBad = v128.any_true(f64x2.ne(bad, f64x2.splat(0)));
  if ((n & 1) != 0) {
    let total: f64 = 0;
    for (let j = 0; j < inputs; j++) {
      total += load<f64>(listed(j) + end) * load<f64>(LIST_WEIGHTS + ((<usize>j) << 3));
    }
    const positive = total >= 0;
    let agreed: f64 = 0;
    let weights: f64 = 0;
    for (let j = 0; j < inputs; j++) {
      const weight = load<f64>(LIST_WEIGHTS + ((<usize>j) << 3));
      const x = load<f64>(listed(j) + end) * weight;
      if (positive ? x > 0 : x < 0) {
        agreed += x;
        weights += weight;
      }
    }
    store<f64>(out + end, !normalize || abs(weights) < limit ? agreed : agreed / weights);
    isBad = isBad || total - total != 0;
  }
  return <i32>isBad;
}

export function weightedConsensus(out: usize, inputs: i32, n: i32, normalize: i32, limit: f64): i32 {
  return normalize != 0 ? consensus(true, out, inputs, n, limit) : consensus(false, out, inputs, n, limit);
}

// @ts-ignore: decorator
@inline
function electedMeanOfTwo(out: usize, base: v128, x: v128, y: v128, wx: v128, wy: v128, floors: v128): void {
  const zero = f64x2.splat(0);
  const vote = f64x2.add(f64x2.add(zero, x), y);
  const positive = f64x2.ge(vote, zero);
  const first = agreement(x, positive, zero);
  const second = agreement(y, positive, zero);
  const ofX = v128.and(f64x2.mul(wx, x), first);
  const ofY = v128.and(f64x2.mul(wy, y), second);
  const sum = f64x2.add(f64x2.add(zero, ofX), ofY);
  const weights = f64x2.add(f64x2.add(zero, v128.and(wx, first)), v128.and(wy, second));
  const mean = f64x2.div(sum, f64x2.pmax(floors, weights));
  v128.store(out, f64x2.add(f64x2.add(base, mean), f64x2.sub(vote, vote)));
}

/** out = base + (sum of weight * x over the x with the sign of the sum of x) / max(sum of their weights, floor). */
export function electedMean(out: usize, base: usize, inputs: i32, n: i32, floor: f64): void {
  const zero = f64x2.splat(0);
  const floors = f64x2.splat(floor);
  const end = (<usize>(n & ~1)) << 3;
  let from: usize = 0;
  if (inputs == 2) {
    const x = listed(0);
    const y = listed(1);
    const wx = weightOf(0);
    const wy = weightOf(1);
    for (; from < end; from += 16) {
      const start = v128.load(base + from);
      electedMeanOfTwo(out + from, start, v128.load(x + from), v128.load(y + from), wx, wy, floors);
    }
  }
  for (let at = from; at < end; at += 16) {
    let vote = zero;
    for (let j = 0; j < inputs; j++) vote = f64x2.add(vote, v128.load(listed(j) + at));
    const positive = f64x2.ge(vote, zero);
    let sum = zero;
    let weights = zero;
    for (let j = 0; j < inputs; j++) {
      const x = v128.load(listed(j) + at);
      const weight = weightOf(j);
      const agrees = agreement(x, positive, zero);
      sum = f64x2.add(sum, v128.and(f64x2.mul(weight, x), agrees));
      weights = f64x2.add(weights, v128.and(weight, agrees));
    }
    const mean = f64x2.div(sum, f64x2.pmax(floors, weights));
    // A vote that is not finite shows in the result.
    v128.store(out + at, f64x2.add(f64x2.add(v128.load(base + at), mean), f64x2.sub(vote, vote)));
  }
  if ((n & 1) != 0) {
    let vote: f64 = 0;
    for (let j = 0; j < inputs; j++) vote += load<f64>(listed(j) + end);
    let sum: f64 = 0;
    let weights: f64 = 0;
    for (let j = 0; j < inputs; j++) {
      const x = load<f64>(listed(j) + end);
      const weight = load<f64>(LIST_WEIGHTS + ((<usize>j) << 3));
      if (vote >= 0 ? x > 0 : x < 0) {
        sum += weight * x;
        weights += weight;
      }
    }
    store<f64>(out + end, load<f64>(base + end) + sum / (floor < weights ? weights : floor) + (vote - vote));
  }
}

/** out = mean over the inputs of (x - their mean)². */
export function variance(out: usize, inputs: i32, n: i32): void {
  const zero = f64x2.splat(0);
  const counts = f64x2.splat(<f64>inputs);
  const end = (<usize>(n & ~1)) << 3;
  let from: usize = 0;
  if (inputs == 2) {
    const first = listed(0);
    const second = listed(1);
    const half = f64x2.splat(0.5); // halving is exact, as dividing by 2
    for (; from < end; from += 16) {
      const x = v128.load(first + from);
      const y = v128.load(second + from);
      const mean = f64x2.mul(f64x2.add(x, y), half);
      const ofX = f64x2.sub(x, mean);
      const ofY = f64x2.sub(y, mean);
      v128.store(out + from, f64x2.mul(f64x2.add(f64x2.mul(ofX, ofX), f64x2.mul(ofY, ofY)), half));
    }
  }
  for (let at = from; at < end; at += 16) {
    let sum = zero;
    for (let j = 0; j < inputs; j++) sum = f64x2.add(sum, v128.load(listed(j) + at));
    const mean = f64x2.div(sum, counts);
    let squares = zero;
    for (let j = 0; j < inputs; j++) {
      const difference = f64x2.sub(v128.load(listed(j) + at), mean);
      squares = f64x2.add(squares, f64x2.mul(difference, difference));
    }
    v128.store(out + at, f64x2.div(squares, counts));
  }
  if ((n & 1) != 0) {
    let sum: f64 = 0;
    for (let j = 0; j < inputs; j++) sum += load<f64>(listed(j) + end);
    const mean = sum / <f64>inputs;
    let squares: f64 = 0;
    for (let j = 0; j < inputs; j++) {
      const difference = load<f64>(listed(j) + end) - mean;
      squares += difference * difference;
    }
    store<f64>(out + end, squares / <f64>inputs);
  }
}
