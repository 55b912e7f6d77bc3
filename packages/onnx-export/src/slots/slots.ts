import type { GraphName } from "@loomweight/models";
import { LoomweightError } from "@loomweight/tensor";

/** Name of the file beside `onnx/` that describes the slots of an export. */
export const slotsFile = "adapter_slots.json";

/**
 * How many adapters a run can use. "single": one for all rows, factors A [in, rank], B [rank, out]. "rows": one for
 * each row of the batch, factors stacked as [adapters, in, rank], [adapters, rank, out] and an index per row.
 */
export type SlotLayout = "single" | "rows";

/** Where one linear layer takes its adapter from: y = scale ∘ (x · W + (x · A) · B), before the bias. */
export interface ModuleSlot {
  readonly in: number;
  readonly out: number;
  /** The graphs that have this layer: "model", "decoder_model_merged". */
  readonly graphs: readonly GraphName[];
  /** Input float32 [in, rank]: PEFT's `lora_A.weight` transposed. Rank 0, or zeros of any rank, where there is no adapter. */
  readonly A: string;
  /** Input float32 [rank, out]: PEFT's `lora_B.weight` transposed, times the adapter's scaling. */
  readonly B: string;
  /** Input float32 [out]: DoRA's magnitude / ‖W + s · B A‖ of each row; ones where there is none. */
  readonly scale?: string;
}

/** The slots of an exported model: the content of adapter_slots.json. */
export interface AdapterSlots {
  readonly version: 1;
  readonly layout: SlotLayout;
  /** Layout "rows": the input int64 [batch] with each row's place in the stack. */
  readonly rows?: string;
  /** By path in the checkpoint: "model.layers.0.self_attn.q_proj". */
  readonly modules: Readonly<Record<string, ModuleSlot>>;
}

/** The names of all inputs that slots of a graph (default: of all graphs) add. */
export function slotInputs(slots: AdapterSlots, graph?: GraphName): string[] {
  const modules = slotsOfGraph(slots, graph).flatMap(([, { A, B, scale }]) =>
    scale === undefined ? [A, B] : [A, B, scale],
  );
  return slots.rows === undefined || modules.length === 0 ? modules : [...modules, slots.rows];
}

/** Modules of one graph, or of all. */
export function slotsOfGraph(slots: AdapterSlots, graph: GraphName | undefined): [string, ModuleSlot][] {
  return Object.entries(slots.modules).filter(([, slot]) => graph === undefined || slot.graphs.includes(graph));
}

const graphNames: readonly string[] = [
  "model",
  "encoder_model",
  "decoder_model_merged",
  "text_model",
  "vision_model",
] satisfies readonly GraphName[];
/** Layers of the largest models are a few thousand; a hostile file may claim more. */
const maximalModules = 100_000;

/** Checks the parsed content of adapter_slots.json. Throws `INVALID_SLOTS`. */
export function parseAdapterSlots(value: unknown, file = slotsFile): AdapterSlots {
  const fail = (problem: string, found: unknown): LoomweightError =>
    new LoomweightError({
      code: "INVALID_SLOTS",
      problem,
      file,
      found: JSON.stringify(found)?.slice(0, 200),
      fix: "Export the model again with adapter slots.",
    });
  if (!isObject(value)) throw fail("the description of adapter slots is no object", value);
  if (value.version !== 1) throw fail("adapter slots of an unknown version", value.version);
  const { layout, rows, modules } = value;
  if (layout !== "single" && layout !== "rows") throw fail('"layout" is neither single nor rows', layout);
  if ((layout === "rows") !== (typeof rows === "string")) throw fail('"rows" does not fit the layout', rows);
  if (!isObject(modules)) throw fail('"modules" is no object', modules);
  const entries = Object.entries(modules);
  if (entries.length === 0 || entries.length > maximalModules) throw fail("no modules, or too many", entries.length);
  const taken = new Set<unknown>([rows]);
  for (const [path, slot] of entries) {
    if (!isObject(slot)) throw fail(`the slot of "${path}" is no object`, slot);
    const sizes = [slot.in, slot.out];
    if (!sizes.every((size) => Number.isSafeInteger(size) && (size as number) > 0 && (size as number) < 2 ** 31)) {
      throw fail(`the slot of "${path}" has no sizes`, sizes);
    }
    const graphs = slot.graphs;
    if (!Array.isArray(graphs) || graphs.length === 0 || !graphs.every((graph) => graphNames.includes(graph))) {
      throw fail(`the slot of "${path}" names no graph`, graphs);
    }
    const names = slot.scale === undefined ? [slot.A, slot.B] : [slot.A, slot.B, slot.scale];
    for (const name of names) {
      if (typeof name !== "string" || name === "") throw fail(`the slot of "${path}" does not name its inputs`, slot);
      if (taken.has(name)) throw fail("two slots share an input", name);
      taken.add(name);
    }
  }
  return value as unknown as AdapterSlots;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
