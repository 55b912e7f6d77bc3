import type { Value } from "@loomweight/graph";
import type { FamilyBuild, FamilyGraph } from "../family.ts";
import type { Attended } from "./attention.ts";
import { cacheOutputs, type DecoderInputs, decoderInputs, type KeyValues, lastPositions } from "./decoder.ts";
import { type LanguageHeadOptions, languageHead, logitsOutput } from "./heads.ts";
import { inside, type Module } from "./module.ts";
import { type Rotation, rotationAt } from "./rope.ts";
import type { Rope } from "./rope-config.ts";

/** What every decoder's configuration says. */
export interface CausalDecoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions that tables of angles hold, where angles are not computed. */
  readonly positions: number;
  /** Whether the head is the embedding table. */
  readonly tied: boolean;
  /** Per layer, how many keys a query sees, itself included; undefined or left out: all before it. */
  readonly windows: readonly (number | undefined)[];
}

/** A layer's place in the decoder. */
export interface DecoderLayer {
  readonly layer: number;
  readonly decoder: DecoderInputs;
  /** undefined where the layer has no rotary positions. */
  readonly rotation: Rotation | undefined;
}

/** The parts that a decoder is made of; each builds below the module that it is given. */
export interface CausalDecoderParts {
  /** Name of the base model: "model". */
  readonly base: string;
  /** Name of the list of layers inside it: "layers". */
  readonly layers: string;
  /** Rotary positions of a layer; left out: none. */
  readonly rope?: (layer: number) => Rope | undefined;
  /** The first hidden states [batch, sequence, hidden]. */
  embed(base: Module, decoder: DecoderInputs): Value;
  /** One block: hidden states → hidden states, and its keys and values. */
  block(module: Module, x: Value, place: DecoderLayer): Attended;
  /** The last norm. */
  norm(base: Module, x: Value): Value;
  /** Name of the head and of the table it may be tied to. */
  readonly head: { readonly name: string; readonly embedding: string; readonly bias?: boolean };
  /** What follows the head: caps, scales. */
  readonly logits?: (logits: Value) => Value;
}

/**
 * A decoder with a cache: embeddings, blocks, norm, head. Text generation gives `logits` and the cache, feature extraction
 * `last_hidden_state`.
 */
export function causalDecoder(
  { config, model, task, dtype, cacheDtype, tiedHead, logitsToKeep, batchSize }: FamilyBuild<CausalDecoderConfig>,
  parts: CausalDecoderParts,
): FamilyGraph {
  const { hiddenSize, vocabSize, layers, windows, kvHeads, headDim } = config;
  const { gpuOnly } = model;
  const decoder = decoderInputs({ task, layers, windows, kvHeads, headDim, dtype, cacheDtype, gpuOnly, batchSize });
  const presents: KeyValues[] = [];

  const last = inside(model, parts.base, (base) => {
    const rotations = new Map<Rope, Rotation>();
    const rotationOf = (layer: number): Rotation | undefined => {
      const rope = parts.rope?.(layer);
      if (rope === undefined) return undefined;
      const positions = { ids: decoder.positionIds, most: config.positions, total: decoder.totalSize };
      const rotation = rotations.get(rope) ?? rotationAt(base, positions, rope, headDim);
      rotations.set(rope, rotation);
      return rotation;
    };
    const places = Array.from({ length: layers }, (_, layer) => ({ layer, decoder, rotation: rotationOf(layer) }));
    let x = parts.embed(base, decoder);
    for (const place of places) {
      const { output, present } = inside(base, `${parts.layers}.${place.layer}`, (module) =>
        parts.block(module, x, place),
      );
      presents.push(present);
      x = output;
    }
    return parts.norm(base, x);
  });

  if (task === "feature-extraction") {
    return { inputs: decoder.inputs, outputs: { last_hidden_state: logitsOutput(last) } };
  }
  const { name, embedding, bias } = parts.head;
  const head: LanguageHeadOptions = {
    hiddenSize,
    vocabSize,
    tiedTo: config.tied ? embedding : undefined,
    tiedHead,
    bias,
  };
  const { logits: finish = (logits: Value) => logits } = parts;
  const kept = logitsToKeep ? lastPositions(last, decoder) : { states: last, inputs: decoder.inputs };
  const logits = finish(languageHead(model, name, kept.states, head));
  return { inputs: kept.inputs, outputs: { logits: logitsOutput(logits), ...cacheOutputs(presents, cacheDtype) } };
}
