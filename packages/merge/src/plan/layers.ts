import type { TensorInfo } from "@loomweight/checkpoint";

/** A tensor name that lies in a numbered layer: `stack` + number + `rest`. */
interface LayerName {
  readonly stack: string;
  readonly layer: number;
  readonly rest: string;
}

/** The tensors of a model, sorted into stacks of layers and what lies outside them. */
export interface ModelLayers {
  /** Prefix up to the number (`model.layers.`) → per layer, what follows the number (`.mlp.up_proj.weight`) → tensor. */
  readonly stacks: ReadonlyMap<string, readonly ReadonlyMap<string, TensorInfo>[]>;
  readonly outside: ReadonlyMap<string, TensorInfo>;
}

const layerPattern = /^((?:.*?\.)?(?:layers|layer|h|blocks|block)\.)(0|[1-9]\d{0,5})(\..+)$/;

/** The parts of a name that lies in a numbered layer (the outermost one); undefined for other names. */
export function layerNameOf(name: string): LayerName | undefined {
  const match = layerPattern.exec(name);
  return match === null ? undefined : { stack: match[1], layer: Number(match[2]), rest: match[3] };
}

/**
 * Sorts tensors by layer without a table of architectures: any name with `.layers.N.`, `.layer.N.`, `.h.N.` or
 * `.blocks.N.` lies in layer N of the stack that its prefix names. Layers without tensors count up to the last one.
 */
export function sortByLayer(tensors: ReadonlyMap<string, TensorInfo>): ModelLayers {
  const stacks = new Map<string, Map<string, TensorInfo>[]>();
  const outside = new Map<string, TensorInfo>();
  // A layer number beyond the number of tensors is no layer of this model.
  for (const [name, info] of tensors) {
    const parts = layerNameOf(name);
    if (parts === undefined || parts.layer >= tensors.size) {
      outside.set(name, info);
      continue;
    }
    const layers = stacks.get(parts.stack) ?? [];
    while (layers.length <= parts.layer) layers.push(new Map());
    layers[parts.layer].set(parts.rest, info);
    stacks.set(parts.stack, layers);
  }
  return { stacks, outside };
}
