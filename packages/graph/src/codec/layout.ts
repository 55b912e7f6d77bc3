import type { OnnxModel } from "../model.ts";
import type { LazyPiece, Piece } from "../protobuf/writer.ts";
import { lazyPiece } from "./encode.ts";
import { planOnnx, type WriteOnnxOptions } from "./write-onnx.ts";

/** Bytes of a file that are computed while it is written. */
export interface Segment extends LazyPiece {
  readonly offset: number;
}

/** A file of a model: what stands where. What nothing covers is zeros. */
export interface FileLayout {
  readonly name: string;
  readonly byteLength: number;
  readonly known: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  readonly segments: readonly Segment[];
}

/** The files that `writeOnnx` would write, external data first, for those who write them in another order. */
export async function layoutOnnx(model: OnnxModel, options: WriteOnnxOptions = {}): Promise<FileLayout[]> {
  const { externalFiles, model: message } = await planOnnx(model, options);
  const files = externalFiles.map(({ name, byteLength, tensors }): FileLayout => {
    const segments = tensors.map(({ initializer, offset }) => ({ ...lazyPiece(initializer), offset }));
    return { name, byteLength, known: [], segments };
  });
  return [...files, layoutOfPieces(options.fileName ?? "model.onnx", message.pieces)];
}

function layoutOfPieces(name: string, pieces: readonly Piece[]): FileLayout {
  const known: { offset: number; bytes: Uint8Array }[] = [];
  const segments: Segment[] = [];
  let offset = 0;
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) {
      known.push({ offset, bytes: piece });
      offset += piece.length;
    } else {
      segments.push({ ...piece, offset });
      offset += piece.byteLength;
    }
  }
  return { name, byteLength: offset, known, segments };
}
