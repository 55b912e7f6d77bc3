/** A call of a transformers.js pipeline as plain data, so that a page can be asked for it. */
export interface PipelineRequest {
  readonly task: string;
  /** Name under which transformers.js finds the folder. */
  readonly model: string;
  /** What the pipeline is called with. */
  readonly texts?: readonly (string | readonly string[])[];
  /** Pixel values [height, width, channels], as they reach the model: the folder's processor leaves them as they are. */
  readonly image?: { readonly data: readonly number[]; readonly width: number; readonly height: number };
  /** Features of sound [1, mel, frames], in place of those that the folder's processor would make. */
  readonly features?: { readonly data: readonly number[]; readonly shape: readonly number[] };
  readonly options?: Readonly<Record<string, unknown>>;
  /** An output of the model itself in place of the pipeline's result. */
  readonly output?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: the library's types differ between its two builds
type Transformers = any;

/** Loads the model as a user does and calls the pipeline; tensors of the result become { dims, data }. */
export async function runRequest(
  transformers: Transformers,
  { task, model, texts = [], image, features, options, output }: PipelineRequest,
  load: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  const pipe = await transformers.pipeline(task, model, load);
  try {
    const inputs: unknown[] = [];
    if (image !== undefined) {
      inputs.push(new transformers.RawImage(Float32Array.from(image.data), image.width, image.height, 3));
    }
    if (features !== undefined) {
      inputs.push(new Float32Array(16000));
      const input_features = new transformers.Tensor("float32", Float32Array.from(features.data), features.shape);
      pipe.processor = Object.assign(async () => ({ input_features }), {
        feature_extractor: pipe.processor.feature_extractor,
      });
    }
    inputs.push(...texts);
    if (output !== undefined) {
      const outputs = await pipe.model(pipe.tokenizer(texts[0]));
      return plain(outputs[output]);
    }
    return plain(await pipe(...inputs, ...(options === undefined ? [] : [options])));
  } finally {
    await pipe.dispose();
  }
}

/** Numbers, texts, lists and objects alone. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array, Number);
  const { dims, data } = value as { dims?: unknown; data?: unknown };
  if (dims !== undefined && data !== undefined) return { dims: plain(dims), data: plain(data) };
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}
