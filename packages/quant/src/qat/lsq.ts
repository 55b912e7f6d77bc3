import {
  abs,
  add,
  clip,
  customGradient,
  div,
  greater,
  less,
  max,
  mul,
  or,
  round,
  sign,
  sub,
  type Value,
  where,
} from "@loomweight/graph";
import { invalid } from "../options.ts";
import { meanPerScale, type Sharing, sharingOf, spreadScales, sumPerScale } from "./along-axis.ts";

export interface LsqOptions {
  /** 1 to 8; one bit is the sign. */
  readonly bits: number;
  /** Codes from 0 on, for values that are never negative (after ReLU or softmax); default false. */
  readonly unsigned?: boolean;
  /** Axis whose places have a scale each: 0 for rows of a weight, −2 for tokens; default one scale for all. */
  readonly axis?: number;
  /** Least scale; default 1e-5. */
  readonly minScale?: number;
}

/** Codes that a value may take: [lowest, highest]. */
export function codeRange({ bits, unsigned = false }: LsqOptions): readonly [number, number] {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) throw invalid("lsq.bits", bits, "a whole number from 1 to 8");
  if (unsigned) return [0, 2 ** bits - 1];
  return bits === 1 ? [-1, 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/**
 * The scale [scales] to start from, of a first batch: factor · mean|x| / √highest; the factor is 2, and 4 for unsigned codes whose
 * scales are shared along an axis. Source: Esser et al. 2020, arXiv:1902.08153; factors as in the code of arXiv:2302.02210.
 */
export function lsqScale(
  x: Value,
  options: LsqOptions,
  factor = options.unsigned && options.axis !== undefined ? 4 : 2,
): Value {
  const sharing = sharingOf(x, options.axis, "lsq");
  return mul(meanPerScale(abs(x), sharing), factor / Math.sqrt(codeRange(options)[1]));
}

/**
 * x on a grid whose scale [scales] is trained: round(clip(x / s)) · s. The gradient passes to x within the range, and to
 * the scale as code − x / s within and as the limit beyond it, times 1 / √(highest · elements that share it). Scales
 * below `minScale` count as it and still learn.
 *
 * Source: Esser et al. 2020, arXiv:1902.08153. One bit: sign(x) · s, whose gradient goes to the scale alone.
 */
export function lsq(x: Value, scale: Value, options: LsqOptions): Value {
  const sharing = sharingOf(x, options.axis, "lsq");
  const range = codeRange(options);
  const { minScale = Math.fround(1e-5) } = options;
  const weight = 1 / Math.sqrt(range[1] * sharing.elements);
  const spread = (s: Value) => spreadScales(max(s, minScale), sharing);
  if (options.bits === 1 && !options.unsigned) {
    return customGradient(
      [x, scale],
      (value, s) => mul(sign(value), spread(s)),
      (dy, [value]) => [mul(dy, 0), mul(sumPerScale(mul(dy, sign(value)), sharing), weight)],
    );
  }
  return customGradient(
    [x, scale],
    (value, s) => mul(round(clip(div(value, spread(s)), ...range)), spread(s)),
    (dy, [value, s]) => lsqGradients({ dy, u: div(value, spread(s)), range, sharing, weight }),
  );
}

function lsqGradients(given: {
  readonly dy: Value;
  /** x / s. */
  readonly u: Value;
  readonly range: readonly [number, number];
  readonly sharing: Sharing;
  readonly weight: number;
}): readonly [Value, Value] {
  const { dy, u, range, sharing, weight } = given;
  const [below, above] = [less(u, range[0]), greater(u, range[1])];
  const term = where(below, range[0], where(above, range[1], sub(round(u), u)));
  return [where(or(below, above), 0, dy), mul(sumPerScale(mul(dy, term), sharing), weight)];
}

export interface LsqPlusOptions {
  readonly bits: number;
  /** Codes from 0 on; default true: the offset takes care of negative values. */
  readonly unsigned?: boolean;
}

/**
 * LSQ with a trained offset, for values that lie to one side: round(clip((x − offset) / s)) · s + offset. Within the
 * range the offset has no gradient and x has it; beyond it is the other way round. One scale and offset for all.
 * Source: Bhalgat et al. 2020, arXiv:2004.09576.
 */
export function lsqPlus(x: Value, scale: Value, offset: Value, options: LsqPlusOptions): Value {
  const own = { unsigned: true, ...options };
  const range = codeRange(own);
  const sharing = sharingOf(x, undefined, "lsqPlus");
  const weight = 1 / Math.sqrt(range[1] * sharing.elements);
  return customGradient(
    [x, scale, offset],
    (value, s, beta) => add(mul(round(clip(div(sub(value, beta), s), ...range)), s), beta),
    (dy, [value, s, beta]) => {
      const u = div(sub(value, beta), s);
      const [dx, ds] = lsqGradients({ dy, u, range, sharing, weight });
      return [dx, ds, mul(sumPerScale(sub(dy, dx), sharing), weight)];
    },
  );
}
