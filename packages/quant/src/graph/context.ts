import type { LazyTensor, OnnxModel } from "@loomweight/graph";
import { byteLengthOf, elementCount, type Tensor } from "@loomweight/tensor";
import type { OnTensor, TensorReport } from "../report.ts";
import { type GraphEdit, lazyInitializer } from "./edit.ts";
import { type LatestWeight, lazyParts, type PartSpec } from "./lazy-parts.ts";

/** What the rewrites of one model share. */
export interface RewriteContext {
  readonly model: OnnxModel;
  readonly edit: GraphEdit;
  readonly latest: LatestWeight;
  /** What was made of a weight → names of the tensors that took its place: a shared weight is coded once. */
  readonly done: Map<string, readonly string[]>;
  readonly onTensor?: OnTensor;
}

/** A weight that is about to be replaced. */
export interface WeightPlan {
  readonly name: string;
  readonly weight: LazyTensor;
  /** For reports: "q4 block 32". */
  readonly form: string;
  /** The new tensors by suffix: `<name>_<suffix>`, in the order of the node's inputs. */
  readonly specs: Readonly<Record<string, PartSpec>>;
  /** The new tensors by suffix, and how far they are from the weight (called when a report is wanted). */
  readonly compute: (weight: Tensor) => {
    readonly tensors: Readonly<Record<string, Tensor>>;
    measure(): Pick<TensorReport, "sqnr" | "largestError">;
  };
  /** The same from the weight's stream, so that it need not be in memory; undefined where it has none that fits. */
  readonly computeStream?: (measured: boolean) =>
    | Promise<{
        readonly tensors: Readonly<Record<string, Tensor>>;
        measure(): Pick<TensorReport, "sqnr" | "largestError">;
      }>
    | undefined;
}

/** Adds the tensors that take a weight's place, once for each weight and form; returns their names. */
export function addParts(context: RewriteContext, plan: WeightPlan): readonly string[] {
  const { name, weight, form, specs } = plan;
  const key = `${form} ${name}`;
  const known = context.done.get(key);
  if (known !== undefined) return known;
  const parts = lazyParts(context.latest, weight, form, specs, async () => {
    const streamed = plan.computeStream?.(context.onTensor !== undefined);
    const { tensors, measure } = await (streamed ?? plan.compute(await weight.read()));
    context.onTensor?.({ name, shape: weight.shape, form, ...measure(), ...sizes(weight, specs) });
    return tensors;
  });
  const names = Object.keys(specs).map((part) => {
    const full = context.edit.fresh(`${name}_${part}`);
    context.edit.initializers.set(full, lazyInitializer(full, parts[part]));
    return full;
  });
  context.done.set(key, names);
  return names;
}

function sizes(
  weight: LazyTensor,
  specs: Readonly<Record<string, PartSpec>>,
): { bytesBefore: number; bytesAfter: number } {
  const bytes = ({ dtype, shape }: PartSpec): number => byteLengthOf(dtype, elementCount(shape));
  return {
    bytesBefore: bytes(weight),
    bytesAfter: Object.values(specs).reduce((sum, spec) => sum + bytes(spec), 0),
  };
}
