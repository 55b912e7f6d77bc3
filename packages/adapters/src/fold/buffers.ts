/** Bytes used again for tile after tile, so that streaming a model does not leave garbage behind. */
export interface BufferPool {
  /** `size` bytes of any content. */
  take(size: number): Uint8Array;
  /** Gives back what `take` gave; it must not be used any more. */
  give(bytes: Uint8Array): void;
}

const keptBuffers = 8;

export function createBufferPool(): BufferPool {
  const free: ArrayBuffer[] = [];
  return {
    take(size) {
      let best = -1;
      for (const [index, buffer] of free.entries()) {
        if (buffer.byteLength >= size && (best < 0 || buffer.byteLength < free[best].byteLength)) best = index;
      }
      const buffer = best < 0 ? new ArrayBuffer(size) : free.splice(best, 1)[0];
      return new Uint8Array(buffer, 0, size);
    },
    give(bytes) {
      if (free.length === keptBuffers) free.shift();
      free.push(bytes.buffer as ArrayBuffer);
    },
  };
}
