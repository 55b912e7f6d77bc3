import { LoomweightError, unknownName } from "@loomweight/tensor";
import { assemble, inputsOf } from "../assemble.ts";
import { type ByteSink, encodeOnnx, writeOnnx } from "../codec/write-onnx.ts";
import type { OnnxModel } from "../model.ts";
import { type GraphValue, isTensor, type Value } from "../value.ts";
import { checkType, type SessionValue } from "./feeds.ts";
import { carryHalves } from "./halves.ts";
import type { ProgramPlan } from "./protocol.ts";
import type { CompileOptions, StateTensor } from "./runtime.ts";
import { parametersOf } from "./state-value.ts";

/** A program as it is sent to the runtime. */
export interface PlannedProgram {
  readonly model: Uint8Array;
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
  readonly plan: ProgramPlan;
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
}

/** Outputs of the graph have prefixes, so that they may be called like its inputs and parameters. */
const nextPrefix = "next/";
export const outputPrefix = "output/";

/**
 * Assembles the graph of a program: what of it is fed, what comes from the state, what is fixed. Fixed weights of more
 * bytes than `mostInside` travel beside the model.
 */
export async function planProgram(
  { inputs, outputs = {}, update = {}, name = "program" }: CompileOptions,
  state: ReadonlyMap<string, StateTensor> = new Map(),
  { mostInside = 1e9 }: { readonly mostInside?: number } = {},
): Promise<PlannedProgram> {
  checkUpdate(update, state);
  const values = [...Object.values(outputs), ...Object.values(update)];
  const fed = inputs === undefined ? inputsOf(values) : listOf(inputs);
  const fromState = stateInputs(values, state);
  const graphOutputs: Record<string, Value> = {};
  for (const [key, value] of Object.entries(outputs)) graphOutputs[`${outputPrefix}${key}`] = value;
  for (const [key, value] of Object.entries(update)) graphOutputs[`${nextPrefix}${key}`] = value;
  const assembled = assemble({ name, inputs: [...fed, ...fromState], outputs: graphOutputs });
  const model = carryHalves(assembled, {
    inputs: fromState.map((each) => each.name as string),
    outputs: Object.keys(update).map((each) => `${nextPrefix}${each}`),
  });
  return {
    ...(await bytesOf(model, mostInside)),
    plan: {
      stateInputs: fromState.map((each) => each.name as string),
      updates: Object.keys(update).map((each) => ({ output: `${nextPrefix}${each}`, state: each })),
      outputs: Object.keys(outputs).map((each) => `${outputPrefix}${each}`),
    },
    inputs: fed.map(({ name: each = "", dtype, shape }) => ({ name: each, dtype, shape })),
    outputs: Object.entries(outputs).map(([each, { dtype, shape }]) => ({ name: each, dtype, shape })),
  };
}

function listOf(inputs: NonNullable<CompileOptions["inputs"]>): readonly GraphValue[] {
  return Array.isArray(inputs) ? inputs : Object.values(inputs);
}

/** The parameters of the graph that the state holds, once per name, each of its type there. */
function stateInputs(values: readonly Value[], state: ReadonlyMap<string, StateTensor>): GraphValue[] {
  const found = new Map<string, GraphValue>();
  for (const value of parametersOf(values)) {
    const { name = "", data } = value;
    const held = state.get(name);
    if (held === undefined) {
      if (data !== undefined) continue;
      throw unknownName({ kind: "tensor of the state", name, known: state.keys(), code: "UNKNOWN_STATE" });
    }
    checkType(name, value, held);
    if (!found.has(name)) found.set(name, value);
  }
  return [...found.values()];
}

function checkUpdate(update: Readonly<Record<string, Value>>, state: ReadonlyMap<string, StateTensor>): void {
  for (const [name, value] of Object.entries(update)) {
    const held = state.get(name);
    if (held === undefined) {
      throw unknownName({ kind: "tensor of the state", name, known: state.keys(), code: "UNKNOWN_STATE" });
    }
    const shape = value.shape.map((dim) => (typeof dim === "number" ? dim : Number.NaN));
    if (
      value.dtype === held.dtype &&
      shape.length === held.shape.length &&
      shape.every((d, i) => d === held.shape[i])
    ) {
      continue;
    }
    throw new LoomweightError({
      code: value.dtype === held.dtype ? "SHAPE_MISMATCH" : "DTYPE_MISMATCH",
      problem: "the next value has another type than the tensor of the state",
      tensor: name,
      node: isTensor(value) ? undefined : value.node?.name,
      expected: `${held.dtype} [${held.shape}]`,
      found: `${value.dtype} [${value.shape}]`,
    });
  }
}

/** Weights beyond what protobuf carries go beside the model, in memory. */
async function bytesOf(model: OnnxModel, mostInside: number): Promise<Pick<PlannedProgram, "model" | "externalData">> {
  const total = [...model.graph.initializers.values()].reduce(
    (sum, { shape }) => sum + 4 * shape.reduce((count, size) => count * size, 1),
    0,
  );
  if (total < mostInside) return { model: await encodeOnnx(model), externalData: [] };
  const parts: Uint8Array[] = [];
  const files: { path: string; parts: Uint8Array[] }[] = [];
  await writeOnnx(
    model,
    {
      ...gather(parts),
      external: async (path) => {
        const file = { path, parts: [] as Uint8Array[] };
        files.push(file);
        return { ...gather(file.parts), close: async () => {} };
      },
    },
    { externalData: true, maxExternalBytes: 1.9e9 },
  );
  return { model: joined(parts), externalData: files.map((each) => ({ path: each.path, data: joined(each.parts) })) };
}

function gather(parts: Uint8Array[]): ByteSink {
  return {
    async write(bytes) {
      parts.push(bytes.slice());
    },
  };
}

function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const part of parts.splice(0)) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
