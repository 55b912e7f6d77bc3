import type { Adapter } from "@loomweight/adapters";
import type { GraphName } from "@loomweight/models";
import { fromData, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { type AdapterFile, valuesOfFile } from "../slots/onnx-adapter.ts";
import { slotTensors } from "../slots/slot-tensors.ts";
import { type AdapterValues, type SlotValuesOptions, slotValues } from "../slots/slot-values.ts";
import type { AdapterSlots } from "../slots/slots.ts";

/** Which adapter runs: one for all rows, none, or one (or none) for each row of the batch. */
export type AdapterChoice = string | undefined | readonly (string | undefined)[];

/** Adapters in memory and the inputs that the chosen ones make. */
export interface AdapterSet {
  /**
   * Reads an adapter (an open PEFT folder, values, or an .onnx_adapter file) under a name; one of that name is replaced.
   * Returns what reading had to say. Throws what `slotValues` and `valuesOfFile` throw.
   */
  load(
    name: string,
    adapter: Adapter | AdapterValues | AdapterFile,
    options?: SlotValuesOptions,
  ): Promise<readonly string[]>;
  /** Chooses what the next runs use; undefined: the base model. Throws `UNKNOWN_ADAPTER`, `INVALID_OPTION`. */
  use(choice: AdapterChoice): void;
  /** Forgets an adapter; one in use is put out of use first. Throws `UNKNOWN_ADAPTER`. */
  unload(name: string): void;
  /** Names of the loaded ones, in order. */
  names(): readonly string[];
  /** What `use` was last given. */
  inUse(): AdapterChoice;
  /** Inputs of a graph's slots for a batch of so many rows. Throws `SHAPE_MISMATCH` where rows were named and are not as many. */
  inputs(graph: GraphName, rows: number): Readonly<Record<string, Tensor>>;
}

/** An empty set of adapters for an export's slots. */
export function createAdapterSet(slots: AdapterSlots): AdapterSet {
  const loaded = new Map<string, AdapterValues>();
  let choice: AdapterChoice;
  /** Inputs of the present choice without the index of rows, by graph: made once, fed until the choice changes. */
  const made = new Map<GraphName, Readonly<Record<string, Tensor>>>();
  const find = (name: string): AdapterValues => {
    const values = loaded.get(name);
    if (values !== undefined) return values;
    throw unknownName({
      kind: "adapter",
      name: String(name),
      known: loaded.keys(),
      code: "UNKNOWN_ADAPTER",
      fix: "Load it first.",
    });
  };
  /** Adapters of the stack, and each row's place in it; undefined: the base model. */
  const stack = (): readonly (string | undefined)[] => [...new Set(isList(choice) ? choice : [choice])];
  return {
    async load(name, adapter, options) {
      const values = await (isFile(adapter)
        ? valuesOfFile(slots, adapter)
        : "method" in adapter
          ? slotValues(slots, adapter, options)
          : adapter);
      loaded.set(name, values);
      if (stack().includes(name)) made.clear();
      return values.warnings;
    },
    use(wanted) {
      if (isList(wanted) && slots.layout !== "rows") {
        throw new LoomweightError({
          code: "INVALID_OPTION",
          problem: "this export takes one adapter for all rows of a batch",
          option: "use",
          fix: 'Export with slots of the layout "rows".',
        });
      }
      for (const name of isList(wanted) ? wanted : [wanted]) if (name !== undefined) find(name);
      choice = isList(wanted) ? [...wanted] : wanted;
      made.clear();
    },
    unload(name) {
      find(name);
      loaded.delete(name);
      if (!stack().includes(name)) return;
      choice = isList(choice) ? choice.map((each) => (each === name ? undefined : each)) : undefined;
      made.clear();
    },
    names: () => [...loaded.keys()],
    inUse: () => choice,
    inputs(graph, rows) {
      const places = stack();
      let inputs = made.get(graph);
      if (inputs === undefined) {
        const values = places.map((name) => (name === undefined ? undefined : loaded.get(name)));
        inputs = slotTensors(slots, graph, values);
        made.set(graph, inputs);
      }
      if (slots.rows === undefined || Object.keys(inputs).length === 0) return inputs;
      const wanted = isList(choice) ? choice : new Array<string | undefined>(rows).fill(choice);
      if (wanted.length !== rows) {
        throw new LoomweightError({
          code: "SHAPE_MISMATCH",
          problem: "adapters were chosen for another number of rows than the batch has",
          expected: `${wanted.length} rows`,
          found: `${rows}`,
          fix: "Call use with one name for each row, or with one name for all.",
        });
      }
      const index = BigInt64Array.from(wanted, (name) => BigInt(places.indexOf(name)));
      return { ...inputs, [slots.rows]: fromData("int64", index, [rows]) };
    },
  };
}

function isList(choice: AdapterChoice): choice is readonly (string | undefined)[] {
  return Array.isArray(choice);
}

function isFile(adapter: Adapter | AdapterValues | AdapterFile): adapter is AdapterFile {
  return "parameters" in adapter;
}
