import type { WireTensor } from "./protocol.ts";

/** The part of onnxruntime's tensor that is used here; onnxruntime-node and onnxruntime-web share it. */
export interface EngineTensor {
  readonly type: string;
  readonly data: unknown;
  readonly dims: readonly number[];
  readonly location: string;
  getData(): Promise<unknown>;
  dispose(): void;
}

export interface EngineSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(
    feeds: Record<string, EngineTensor>,
    fetches: readonly string[] | Record<string, EngineTensor | null>,
  ): Promise<Record<string, EngineTensor>>;
  release(): Promise<void>;
}

/** onnxruntime as its JavaScript packages give it. */
export interface OrtModule {
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<unknown>;
  };
  readonly Tensor: new (type: never, data: never, dims: readonly number[]) => unknown;
}

/** onnxruntime in one of its two forms. */
export interface Engine {
  readonly ort: OrtModule;
  /** Whether outputs handed in are written in place, without a copy. */
  readonly writesInPlace: boolean;
  /** Whether tensors on the device can be read directly; reading them aborts onnxruntime-node's process. */
  readonly readsDevice: boolean;
}

export function engineTensor(engine: Engine, { type, data, dims }: WireTensor): EngineTensor {
  return new engine.ort.Tensor(type as never, data as never, dims) as EngineTensor;
}

export async function openEngineSession(
  engine: Engine,
  model: Uint8Array,
  options: Record<string, unknown>,
): Promise<EngineSession> {
  return (await engine.ort.InferenceSession.create(model, options)) as EngineSession;
}
