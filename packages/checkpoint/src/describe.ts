import { type DType, elementCount } from "@loomweight/tensor";
import type { Checkpoint } from "./checkpoint.ts";

/** What a checkpoint holds, counted from its headers. */
export interface CheckpointSummary {
  readonly location: string;
  readonly tensorCount: number;
  /** Elements of all tensors. */
  readonly parameterCount: number;
  /** Bytes of all tensors' data. */
  readonly byteLength: number;
  /** By dtype, the one with most parameters first. */
  readonly dtypes: readonly CountedGroup<DType>[];
  /** By file, in the order of the files. */
  readonly files: readonly CountedGroup<string>[];
  readonly metadata: Readonly<Record<string, string>>;
}

export interface CountedGroup<Name extends string> {
  readonly name: Name;
  readonly tensorCount: number;
  readonly parameterCount: number;
  readonly byteLength: number;
}

/** Counts tensors, parameters and bytes of a checkpoint, in all, by dtype and by file; no data is read. */
export function describeCheckpoint(checkpoint: Checkpoint): CheckpointSummary {
  const dtypes = new Map<DType, CountedGroup<DType>>();
  const files = new Map<string, CountedGroup<string>>();
  let parameterCount = 0;
  let byteLength = 0;
  for (const info of checkpoint.tensors.values()) {
    const elements = elementCount(info.shape);
    parameterCount += elements;
    byteLength += info.byteLength;
    count(dtypes, info.dtype, elements, info.byteLength);
    count(files, info.file, elements, info.byteLength);
  }
  return {
    location: checkpoint.location,
    tensorCount: checkpoint.tensors.size,
    parameterCount,
    byteLength,
    dtypes: [...dtypes.values()].sort((a, b) => b.parameterCount - a.parameterCount || (a.name < b.name ? -1 : 1)),
    files: [...files.values()],
    metadata: checkpoint.metadata,
  };
}

function count<N extends string>(groups: Map<N, CountedGroup<N>>, name: N, elements: number, bytes: number): void {
  const { tensorCount, parameterCount, byteLength } = groups.get(name) ?? {
    tensorCount: 0,
    parameterCount: 0,
    byteLength: 0,
  };
  groups.set(name, {
    name,
    tensorCount: tensorCount + 1,
    parameterCount: parameterCount + elements,
    byteLength: byteLength + bytes,
  });
}
