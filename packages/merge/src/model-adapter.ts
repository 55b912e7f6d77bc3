import type { Adapter } from "@loomweight/adapters";
import type { Checkpoint, FileSet, TensorInfo } from "@loomweight/checkpoint";
import { byteLengthOf, elementCount } from "@loomweight/tensor";

/** A model that an adapter is folded into. */
export interface AdapterBase {
  readonly checkpoint: Checkpoint;
  readonly config: Readonly<Record<string, unknown>> | undefined;
}

/** A model with an adapter folded in, as planning sees it. */
export interface PlannedAdaptation {
  /** In the dtypes that they are stored in. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly config: Readonly<Record<string, unknown>> | undefined;
  readonly warnings: readonly string[];
}

/** An adapter of a recipe, open: it can be folded into any model that it fits. */
export interface ModelAdapter {
  /** Name of its method, and how many layers it changes. */
  readonly method: string;
  readonly layers: number;
  /** Paths of its files, where it has some. */
  readonly files: readonly string[];
  /** What its own file holds. */
  readonly checkpoint: Pick<Checkpoint, "tensors">;
  /** What folding gives, from headers alone. Throws what `planFold` throws. */
  plan(base: {
    readonly checkpoint: Pick<Checkpoint, "tensors"> & { readonly location?: string };
    readonly config: AdapterBase["config"];
  }): PlannedAdaptation;
  /**
   * The folded weights, computed when they are read: tensors that the adapter changes come as float64, so that nothing
   * is rounded before the merge. Closing it leaves the base and the adapter open.
   */
  fold(base: AdapterBase): Checkpoint;
  close(): Promise<void>;
}

/** Opens a PEFT folder. Only headers are read. Throws as `openAdapter`. */
export async function openModelAdapter(files: FileSet, paths: readonly string[] = []): Promise<ModelAdapter> {
  // Loaded on first use: most recipes name no adapter, and every worker loads what it needs for itself.
  const { foldAdapters, openAdapter, planFold } = await import("@loomweight/adapters");
  const adapter: Adapter = await openAdapter(files);
  return {
    method: adapter.method.name,
    layers: adapter.modules.size,
    files: [...new Set([...[...adapter.checkpoint.tensors.values()].map(({ file }) => file), ...paths])],
    checkpoint: adapter.checkpoint,
    plan({ checkpoint, config }) {
      const plan = planFold({ checkpoint: unread(checkpoint), config }, [adapter]);
      const tensors = [...plan.tensors].map(([name, { dtype, shape, source }]): [string, TensorInfo] => [
        name,
        { ...source.info, name, dtype, shape, byteLength: byteLengthOf(dtype, elementCount(shape)) },
      ]);
      return {
        tensors: new Map(tensors),
        config: config === undefined ? undefined : { ...config, ...plan.config },
        warnings: plan.warnings,
      };
    },
    fold(base) {
      const stored = foldAdapters(base, [adapter]);
      const exact = foldAdapters(base, [adapter], { dtype: "float64" });
      const changed = (name: string) => (stored.plan.tensors.get(name)?.operations.length ?? 0) > 0;
      const from = (name: string) => (changed(name) ? exact.checkpoint : stored.checkpoint);
      const tensors = new Map(stored.checkpoint.tensors);
      for (const [name, info] of exact.checkpoint.tensors) if (changed(name)) tensors.set(name, info);
      return {
        ...exact.checkpoint,
        tensors,
        readBytes: (name, options) => from(name).readBytes(name, options),
        read: (name, options) => from(name).read(name, options),
        async close() {
          await Promise.all([stored.checkpoint.close(), exact.checkpoint.close()]);
        },
      };
    },
    close: () => adapter.checkpoint.close(),
  };
}

/** Headers as a checkpoint that nobody reads from. */
function unread({ tensors, location = "" }: Pick<Checkpoint, "tensors"> & { readonly location?: string }): Checkpoint {
  const refuse = async (): Promise<never> => {
    throw new Error("planning reads no weights");
  };
  return { location, tensors, metadata: {}, readBytes: refuse, read: refuse, close: async () => {} };
}
