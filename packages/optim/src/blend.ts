import { add, cast, mul, type Value } from "@loomweight/graph";
import { dtypeFacts, type Tensor } from "@loomweight/tensor";
import { stateName } from "./per-parameter.ts";

/**
 * keep · average + share · value. Whole numbers (counters among a model's buffers) are blended as floats and cut towards
 * zero, as torch's AveragedModel does. `keep` and `share` are float scalars.
 */
export function blend(average: Value, value: Value, { keep, share }: Readonly<Record<string, Value>>): Value {
  const { kind } = dtypeFacts[value.dtype];
  if (kind !== "integer" && kind !== "unsigned") return add(mul(average, keep), mul(value, share));
  const [a, v] = [average, value].map((each) => cast(each, keep.dtype));
  return cast(add(mul(a, keep), mul(v, share)), value.dtype);
}

/** State "slot/parameter" that starts as the parameters. */
export function initCopies(slot: string, parameters: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(parameters).map(([name, tensor]) => [stateName(slot, name), tensor]));
}

/** The copies of parameters that a state holds in a slot; parameters without one as they are. */
export function copiesOf(
  slot: string,
  { parameters, state }: { parameters: Readonly<Record<string, Value>>; state: Readonly<Record<string, Value>> },
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, value]) => [name, state[stateName(slot, name)] ?? value]),
  );
}

/** New state of a slot of averages after the parameters changed. */
export function blendAll(
  slot: string,
  call: {
    readonly parameters: Readonly<Record<string, Value>>;
    readonly state: Readonly<Record<string, Value>>;
    readonly scalars: Readonly<Record<string, Value>>;
  },
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(call.parameters).map(([name, value]) => {
      const key = stateName(slot, name);
      return [key, blend(call.state[key], value, call.scalars)];
    }),
  );
}
