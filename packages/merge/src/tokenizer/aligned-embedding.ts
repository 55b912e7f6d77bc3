import type { Checkpoint, ReadBytesOptions, TensorInfo } from "@loomweight/checkpoint";
import { byteLengthOf, bytesOf, cast, codesFromBytes, type DType, fromData, toFloat64 } from "@loomweight/tensor";
import { LoomweightError } from "@loomweight/tensor/errors";
import { type AlignedRows, meanRow, type VocabularyPlan, zeroRow } from "./vocabulary.ts";

/** What rebuilding needs of a vocabulary plan. */
export type AlignedVocabulary = Pick<VocabularyPlan, "rows" | "tokens" | "inputs">;

/** An embedding or head [tokens, width] of every input of the merge, to take rows from. */
export interface EmbeddingSource {
  readonly checkpoint: Checkpoint;
  readonly tensor: string;
}

/**
 * One input's checkpoint with its embeddings and heads rebuilt to the output vocabulary; everything else as it is.
 * Rows are gathered when read, so memory stays that of the rows asked for. The rebuilt tensors keep their dtype when
 * every row is a copy of rows of that dtype, and are float32 otherwise.
 * @param input which input of the plan this is
 * @param embeddings per tensor name in this checkpoint, the tensor that plays its part in each input
 */
export function alignEmbeddings(
  checkpoint: Checkpoint,
  input: number,
  plan: AlignedVocabulary,
  embeddings: ReadonlyMap<string, readonly EmbeddingSource[]>,
): Checkpoint {
  const rebuilt = new Map<string, RebuiltEmbedding>();
  for (const [name, sources] of embeddings) {
    rebuilt.set(name, rebuildEmbedding(checkpoint.tensors.get(name)!, plan, plan.inputs[input], sources));
  }
  const tensors = new Map([...checkpoint.tensors].map(([name, info]) => [name, rebuilt.get(name)?.info ?? info]));
  const readBytes = async (name: string, options: ReadBytesOptions = {}) => {
    const embedding = rebuilt.get(name);
    return embedding === undefined ? checkpoint.readBytes(name, options) : embedding.readBytes(options);
  };
  return {
    location: checkpoint.location,
    tensors,
    metadata: checkpoint.metadata,
    readBytes,
    async read(name, options = {}) {
      const embedding = rebuilt.get(name);
      if (embedding === undefined) return checkpoint.read(name, options);
      const { dtype, shape } = embedding.info;
      const range = options.range ?? { start: 0, end: shape[0] * shape[1] };
      const bytes = await embedding.readBytes({
        start: byteLengthOf(dtype, range.start),
        end: byteLengthOf(dtype, range.end),
      });
      return fromData(
        dtype,
        codesFromBytes(dtype, bytes),
        options.range === undefined ? shape : [range.end - range.start],
      );
    },
    close: () => checkpoint.close(),
  };
}

/** Read at once where all rows are averaged. */
const chunkBytes = 1 << 20;

interface RebuiltEmbedding {
  readonly info: TensorInfo;
  readBytes(options: ReadBytesOptions): Promise<Uint8Array>;
}

function rebuildEmbedding(
  own: TensorInfo,
  plan: AlignedVocabulary,
  rows: AlignedRows,
  sources: readonly EmbeddingSource[],
): RebuiltEmbedding {
  const width = own.shape[1];
  const infos = sources.map((source) => source.checkpoint.tensors.get(source.tensor)!);
  for (const [index, info] of infos.entries()) {
    if (info.shape.length !== 2 || info.shape[1] !== width) {
      throw new LoomweightError({
        code: "SHAPE_MISMATCH",
        problem: "embeddings of different width cannot lend each other rows",
        tensor: own.name,
        expected: `[tokens, ${width}]`,
        found: `[${info.shape}] in ${sources[index].checkpoint.location}`,
        fix: "Merge models of one architecture.",
      });
    }
  }
  const copiesOnly =
    plan.rows === plan.tokens && rows.means.length === 0 && infos.every((info) => info.dtype === own.dtype);
  const isExact = infos.some((info) => info.dtype === "float64"); // as where adapters are folded in
  const dtype: DType = copiesOnly ? own.dtype : isExact ? "float64" : "float32";
  const rowBytes = byteLengthOf(dtype, width);
  const info: TensorInfo = { ...own, dtype, shape: [plan.rows, width], byteLength: plan.rows * rowBytes };
  let padding: Promise<Uint8Array> | undefined;

  const readRow = (model: number, row: number): Promise<Uint8Array> => readRows(model, row, 1);
  const readRows = async (model: number, row: number, count: number): Promise<Uint8Array> => {
    const from = infos[model];
    if (from.dtype === dtype)
      return sources[model].checkpoint.readBytes(from.name, { start: row * rowBytes, end: (row + count) * rowBytes });
    const size = byteLengthOf(from.dtype, width);
    const bytes = await sources[model].checkpoint.readBytes(from.name, {
      start: row * size,
      end: (row + count) * size,
    });
    return bytesOf(cast(fromData(from.dtype, codesFromBytes(from.dtype, bytes), [count, width]), dtype));
  };
  const mean = async (parts: AsyncIterable<Uint8Array>, count: number): Promise<Uint8Array> => {
    const total = new Float64Array(width);
    for await (const part of parts) {
      const values = toFloat64(fromData(dtype, codesFromBytes(dtype, part), [part.length / byteLengthOf(dtype, 1)]));
      for (let i = 0; i < values.length; i++) total[i % width] += values[i];
    }
    for (let i = 0; i < width; i++) total[i] /= count;
    return bytesOf(cast(fromData("float64", total, [width]), dtype));
  };
  const tokenRow = (token: number): Promise<Uint8Array> => {
    if (rows.model[token] === zeroRow) return Promise.resolve(new Uint8Array(rowBytes));
    if (rows.model[token] !== meanRow) return readRow(rows.model[token], rows.row[token]);
    const owners = rows.means[rows.row[token]];
    return mean(rowsOf(owners), owners.length);
  };
  async function* rowsOf(owners: AlignedRows["means"][number]): AsyncIterable<Uint8Array> {
    for (const owner of owners) yield await readRow(owner.model, owner.row);
  }
  async function* allRows(): AsyncIterable<Uint8Array> {
    const step = Math.max(1, Math.floor(chunkBytes / rowBytes)) * rowBytes;
    const end = plan.tokens * rowBytes;
    for (let start = 0; start < end; start += step) yield await readRange({ start, end: Math.min(end, start + step) });
  }
  const readRange = async ({
    start = 0,
    end = info.byteLength,
    into = new Uint8Array(end - start),
  }: ReadBytesOptions): Promise<Uint8Array> => {
    let position = start;
    while (position < end) {
      const token = Math.floor(position / rowBytes);
      const within = position - token * rowBytes;
      let bytes: Uint8Array;
      if (token >= plan.tokens) {
        padding ??= mean(allRows(), plan.tokens);
        bytes = await padding;
      } else {
        // A run of neighbouring rows of one model is one read.
        let count = 1;
        const last = Math.min(plan.tokens, Math.ceil(end / rowBytes));
        if (rows.model[token] >= 0) {
          while (
            token + count < last &&
            rows.model[token + count] === rows.model[token] &&
            rows.row[token + count] === rows.row[token] + count
          )
            count++;
        }
        bytes = count > 1 ? await readRows(rows.model[token], rows.row[token], count) : await tokenRow(token);
      }
      const take = Math.min(bytes.length - within, end - position);
      into.set(bytes.subarray(within, within + take), position - start);
      position += take;
    }
    return into;
  };
  return { info, readBytes: readRange };
}
