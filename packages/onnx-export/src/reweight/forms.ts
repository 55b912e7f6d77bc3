import { type Initializer, intOf, type LazyTensor, type OnnxGraph, type OnnxNode } from "@loomweight/graph";
import {
  type Bnb4Type,
  bnb4Levels,
  quantizeBlocks,
  quantizeBnb4,
  quantizeGatherBlocks,
  quantizeInt8,
  quantizeQdqBlocks,
} from "@loomweight/quant";
import {
  cast,
  contiguousData,
  type DType,
  elementCount,
  LoomweightError,
  reshape,
  type Tensor,
  toFloat32,
} from "@loomweight/tensor";
import { fileSampler } from "./sample-file.ts";

/** Reads the float value that a stored weight stands for, by its row-major place in the float form's shape. */
export type ValueAt = (index: number) => number;

/** Float values at some row-major places in the float form's shape. */
export type Sample = (places: ArrayLike<number>) => Promise<Float32Array>;

/** How a graph stores a weight: as floats, or quantized in one of onnxruntime's forms. */
export interface WeightForm {
  /** "float32", "4 bits in blocks of 32". */
  readonly description: string;
  /** dtype that the weight has before it is coded. */
  readonly dtype: DType;
  /** Shape of the float form, as the operator multiplies or gathers with it. */
  readonly shape: readonly number[];
  /** Values are those of a checkpoint, not codes for them. */
  readonly exact: boolean;
  /** Initializers that hold it, codes first. */
  readonly parts: readonly string[];
  /** Opens the stored parts. */
  open(): Promise<ValueAt>;
  /** All values at once, row-major: much faster than one by one. Default: by `open`. */
  floats?(): Promise<Float32Array>;
  /** Where the stored parts are large and lie in a file: some values without the rest. */
  readonly sample?: Sample;
  /** Codes a new float weight of `shape`: a tensor for each of `parts`. */
  encode(weight: Tensor): readonly Tensor[];
}

/** Float weights of at least this many elements are not read as a whole to look at a few of them. */
const manyElements = 2 ** 22;

/** Some values of a form: of a large one from its file, else of the opened form. */
export async function samplesOf(form: WeightForm): Promise<Sample> {
  if (form.sample !== undefined) return form.sample;
  const valueAt = await form.open();
  return async (places) => Float32Array.from(places, valueAt);
}

/** All values of a form, row-major. */
export async function floatsOfForm(form: WeightForm): Promise<Float32Array> {
  if (form.floats !== undefined) return form.floats();
  const valueAt = await form.open();
  const values = new Float32Array(elementCount(form.shape));
  for (let i = 0; i < values.length; i++) values[i] = valueAt(i);
  return values;
}

/** A float initializer. */
export function floatForm({ name, dtype, shape, data }: Initializer): WeightForm {
  const sample = elementCount(shape) < manyElements ? undefined : fileSampler(data);
  return {
    description: dtype,
    dtype,
    shape,
    exact: true,
    parts: [name],
    async open() {
      const values = await floatsOf(data);
      return (index) => values[index];
    },
    floats: async () => Float32Array.from(await floatsOf(data)),
    ...(sample && { sample }),
    encode: (weight) => [dtype === weight.dtype ? weight : cast(weight, dtype)],
  };
}

/** Inputs of MatMulNBits: B [N, blocks, bytes], scales, zero points?. */
export function matMulNBitsForm(graph: OnnxGraph, node: OnnxNode): WeightForm {
  const [, b, s, z = "", order = ""] = node.inputs;
  if (order !== "") throw unsupported(node, "rows in another order (g_idx)");
  const parts = {
    codes: initializerOf(graph, b, node),
    scales: initializerOf(graph, s, node),
    zeros: graph.initializers.get(z),
  };
  const sizes = { K: intOf(node, "K", 0), N: intOf(node, "N", 0) };
  const coding = { bits: intOf(node, "bits", 4), blockSize: intOf(node, "block_size", 32) };
  return packedBlocksForm(node, parts, { ...sizes, ...coding, shape: [sizes.K, sizes.N] });
}

/** Codes of 2, 4 or 8 bits, N rows of K in blocks along K, lowest bits first; the float form is [K, N] or [N, K]. */
function packedBlocksForm(
  node: OnnxNode,
  { codes, scales, zeros }: { codes: Initializer; scales: Initializer; zeros: Initializer | undefined },
  options: { K: number; N: number; bits: number; blockSize: number; shape: readonly [number, number] },
): WeightForm {
  const { K, N, bits, blockSize, shape } = options;
  if ((bits !== 2 && bits !== 4 && bits !== 8) || (zeros !== undefined && zeros.dtype !== "uint8")) {
    throw unsupported(node, `${bits} bits, zero points of ${zeros?.dtype}`);
  }
  const blocks = Math.ceil(K / blockSize);
  const blob = (blockSize * bits) / 8;
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  if (elementCount(codes.shape) !== N * blocks * blob || elementCount(scales.shape) !== N * blocks) {
    throw unsupported(node, `codes [${codes.shape}] and scales [${scales.shape}] for [${K},${N}]`);
  }
  const rowsFirst = shape[0] === N && shape[1] === K && node.op !== "MatMulNBits";
  const mask = 2 ** bits - 1;
  const perByte = 8 / bits;
  const code = (bytes: Uint8Array, start: number, at: number) =>
    (bytes[start + Math.floor(at / perByte)] >> ((at % perByte) * bits)) & mask;
  return {
    description: `${bits} bits in blocks of ${blockSize}${zeros === undefined ? "" : ", with zero points"}`,
    dtype: scales.dtype === "float16" ? "float16" : "float32",
    shape,
    exact: false,
    parts: [codes.name, scales.name, ...(zeros === undefined ? [] : [zeros.name])],
    async open() {
      const bytes = await codesOf(codes.data);
      const steps = await floatsOf(scales.data);
      const offsets = zeros && (await codesOf(zeros.data));
      return (index) => {
        const [first, second] = [Math.floor(index / shape[1]), index % shape[1]];
        const [k, n] = rowsFirst ? [second, first] : [first, second];
        const block = Math.floor(k / blockSize);
        const zero = offsets === undefined ? 2 ** (bits - 1) : code(offsets as Uint8Array, n * zeroBytes, block);
        const at = n * blocks + block;
        return (code(bytes as Uint8Array, at * blob, k - block * blockSize) - zero) * steps[at];
      };
    },
    async floats() {
      const bytes = (await codesOf(codes.data)) as Uint8Array;
      const steps = await floatsOf(scales.data);
      const offsets = zeros && ((await codesOf(zeros.data)) as Uint8Array);
      const values = new Float32Array(K * N);
      const [rowStep, columnStep] = rowsFirst ? [K, 1] : [1, N];
      for (let n = 0; n < N; n++) {
        for (let block = 0; block < blocks; block++) {
          const at = n * blocks + block;
          const zero = offsets === undefined ? 2 ** (bits - 1) : code(offsets, n * zeroBytes, block);
          const step = steps[at];
          const end = Math.min(K, (block + 1) * blockSize);
          let place = n * rowStep + block * blockSize * columnStep;
          for (let k = block * blockSize, j = 0; k < end; k++, j++, place += columnStep) {
            const byte = bytes[at * blob + ((j * bits) >> 3)];
            values[place] = (((byte >> ((j * bits) & 7)) & mask) - zero) * step;
          }
        }
      }
      return values;
    },
    encode(weight) {
      const matrix = rowsFirst ? turn(weight) : weight;
      const made = quantizeBlocks(matrix, { bits, blockSize, symmetric: zeros === undefined }, codes.name);
      const coded = [reshape(made.packed, codes.shape), reshape(cast(made.scales, scales.dtype), scales.shape)];
      return zeros === undefined ? coded : [...coded, reshape(made.zeroPoints as Tensor, zeros.shape)];
    },
  };
}

/** Inputs of MatMulBnb4: codes of the flattened transpose, largest magnitudes. */
export function bnb4Form(graph: OnnxGraph, node: OnnxNode): WeightForm {
  const [, b, a] = node.inputs;
  const [codes, absmax] = [initializerOf(graph, b, node), initializerOf(graph, a, node)];
  const K = intOf(node, "K", 0);
  const N = intOf(node, "N", 0);
  const blockSize = intOf(node, "block_size", 64);
  const quantType: Bnb4Type = intOf(node, "quant_type", 1) === 1 ? "nf4" : "fp4";
  return {
    description: `${quantType} in blocks of ${blockSize}`,
    dtype: absmax.dtype,
    shape: [K, N],
    exact: false,
    parts: [b, a],
    async open() {
      const bytes = await codesOf(codes.data);
      const largest = await floatsOf(absmax.data);
      const levels = bnb4Levels[quantType];
      return (index) => {
        const at = (index % N) * K + Math.floor(index / N);
        const byte = Number(bytes[at >> 1]);
        return levels[at % 2 === 0 ? byte >> 4 : byte & 15] * largest[Math.floor(at / blockSize)];
      };
    },
    encode(weight) {
      const made = quantizeBnb4(weight, { quantType, blockSize }, b);
      return [reshape(made.packed, codes.shape), reshape(cast(made.absmax, absmax.dtype), absmax.shape)];
    },
  };
}

/**
 * Tables of GatherBlockQuantized: 4-bit codes in the table's shape, blocks along one axis; or packed in bytes, as
 * MatMulNBits has them.
 */
export function gatherBlockForm(graph: OnnxGraph, node: OnnxNode): WeightForm {
  const [d, , s, z = ""] = node.inputs;
  const [codes, scales, zeros] = [
    initializerOf(graph, d, node),
    initializerOf(graph, s, node),
    graph.initializers.get(z),
  ];
  const given = intOf(node, "quantize_axis", 1);
  const axis = given < 0 ? given + codes.shape.length : given;
  const blockSize = intOf(node, "block_size", 128);
  if (codes.dtype === "uint8") {
    const bits = intOf(node, "bits", 4);
    const [rows, bytes] = codes.shape;
    const width = (bytes * 8) / bits;
    if (codes.shape.length !== 2 || axis !== 1 || width % blockSize !== 0) {
      throw unsupported(node, `packed codes [${codes.shape}] in blocks of ${blockSize} along axis ${axis}`);
    }
    return packedBlocksForm(
      node,
      { codes, scales, zeros },
      { K: width, N: rows, bits, blockSize, shape: [rows, width] },
    );
  }
  if (codes.dtype !== (zeros === undefined ? "int4" : "uint4")) {
    throw unsupported(node, `a table of ${codes.dtype}${zeros === undefined ? " without" : " with"} zero points`);
  }
  return {
    description: `4 bits in blocks of ${blockSize} along axis ${axis}${zeros === undefined ? "" : ", with zero points"}`,
    dtype: "float32",
    shape: codes.shape,
    exact: false,
    parts: [d, s, ...(zeros === undefined ? [] : [z])],
    open: () => openBlocks(codes, scales, zeros, axis, blockSize),
    encode(weight) {
      const made = quantizeGatherBlocks(weight, { axis, blockSize, symmetric: zeros === undefined }, d);
      const coded: Tensor[] = [made.data, cast(made.scales, scales.dtype)];
      return zeros === undefined ? coded : [...coded, made.zeroPoints as Tensor];
    },
  };
}

/** A weight behind DequantizeLinear: int8 or uint8 with one scale or one an axis, or 4 bits in blocks. */
export function dequantizeLinearForm(
  graph: OnnxGraph,
  node: OnnxNode,
  settings: { readonly symmetric: (type: DType) => boolean },
): WeightForm {
  const [d, s, z = ""] = node.inputs;
  const [codes, scales, zeros] = [
    initializerOf(graph, d, node),
    initializerOf(graph, s, node),
    graph.initializers.get(z),
  ];
  const blockSize = intOf(node, "block_size", 0);
  const given = intOf(node, "axis", 1);
  const axis = given < 0 ? given + codes.shape.length : given;
  if (codes.dtype === "int8" || codes.dtype === "uint8") {
    if (blockSize !== 0) throw unsupported(node, `blocks of ${codes.dtype}`);
    return int8Form(
      { codes, scale: scales, zeroPoint: zeros, axis: scales.shape.length === 0 ? undefined : axis },
      settings,
    );
  }
  if (codes.shape.length !== 2 || (codes.dtype !== "int4" && codes.dtype !== "uint4")) {
    throw unsupported(node, `codes of ${codes.dtype} [${codes.shape}]`);
  }
  const size = blockSize === 0 ? codes.shape[axis] : blockSize;
  const channelWise = size === codes.shape[axis];
  // the quantizer codes [K, N] along K; a table whose blocks run along its last axis is the transpose of one
  const turned = axis === 1;
  return {
    description: `${codes.dtype} in blocks of ${size} along axis ${axis}`,
    dtype: scales.dtype,
    shape: codes.shape,
    exact: false,
    parts: [d, s, ...(zeros === undefined ? [] : [z])],
    open: () => openBlocks(codes, scales, zeros, axis, size),
    encode(weight) {
      const matrix = turned ? turn(weight) : weight;
      const made = quantizeQdqBlocks(
        matrix,
        { blockSize: channelWise ? undefined : size, channelWise, symmetric: zeros === undefined },
        d,
      );
      const placed = (tensor: Tensor) => (made.transposed === turned ? tensor : turn(tensor));
      const coded = [placed(made.data), reshape(cast(placed(made.scales), scales.dtype), scales.shape)];
      return zeros === undefined ? coded : [...coded, reshape(placed(made.zeroPoints as Tensor), zeros.shape)];
    },
  };
}

/** Codes in 8 bits with a scale and perhaps a zero point, each one number or one for each index of `axis`. */
export function int8Form(
  {
    codes,
    scale,
    zeroPoint,
    axis,
  }: { codes: Initializer; scale: Initializer; zeroPoint: Initializer | undefined; axis: number | undefined },
  settings: { readonly symmetric: (type: DType) => boolean; readonly reduceRange?: boolean },
): WeightForm {
  const type = codes.dtype as "int8" | "uint8";
  const channels = elementCount(scale.shape);
  const along = channels === 1 ? undefined : axis;
  if (along === undefined ? channels !== 1 : codes.shape[along] !== channels) {
    throw new LoomweightError({
      code: "UNSUPPORTED_WEIGHT_FORM",
      problem: "a quantized weight whose scales fit none of its axes",
      tensor: codes.name,
      found: `codes [${codes.shape}], scales [${scale.shape}]`,
    });
  }
  const inner = along === undefined ? 1 : elementCount(codes.shape.slice(along + 1));
  return {
    description: `${type}${along === undefined ? "" : ` per channel of axis ${along}`}`,
    dtype: "float32",
    shape: codes.shape,
    exact: false,
    parts: [codes.name, scale.name, ...(zeroPoint === undefined ? [] : [zeroPoint.name])],
    async open() {
      const stored = await codesOf(codes.data);
      const scales = await floatsOf(scale.data);
      const zeros = zeroPoint && (await codesOf(zeroPoint.data));
      return (index) => {
        const channel = along === undefined ? 0 : Math.floor(index / inner) % channels;
        return (Number(stored[index]) - Number(zeros?.[channel] ?? 0)) * scales[channel];
      };
    },
    encode(weight) {
      const symmetric = zeroPoint === undefined || settings.symmetric(type);
      const made = quantizeInt8(
        weight,
        { type, axis: along, symmetric, reduceRange: settings.reduceRange },
        codes.name,
      );
      const coded = [made.data, reshape(cast(made.scale, scale.dtype), scale.shape)];
      return zeroPoint === undefined ? coded : [...coded, reshape(made.zeroPoint, zeroPoint.shape)];
    },
  };
}

async function openBlocks(
  codes: Initializer,
  scales: Initializer,
  zeros: Initializer | undefined,
  axis: number,
  blockSize: number,
): Promise<ValueAt> {
  const stored = await codesOf(codes.data);
  const steps = await floatsOf(scales.data);
  const offsets = zeros && (await codesOf(zeros.data));
  const size = codes.shape[axis];
  const blocks = Math.ceil(size / blockSize);
  const inner = elementCount(codes.shape.slice(axis + 1));
  return (index) => {
    const row = Math.floor(index / inner);
    const block = Math.floor((row % size) / blockSize);
    const at = (Math.floor(row / size) * blocks + block) * inner + (index % inner);
    return (Number(stored[index]) - Number(offsets?.[at] ?? 0)) * steps[at];
  };
}

/** The initializer that an operator reads its weight from; throws `UNSUPPORTED_WEIGHT_FORM` where it is computed. */
function initializerOf(graph: OnnxGraph, name: string, node: OnnxNode): Initializer {
  const found = graph.initializers.get(name);
  if (found !== undefined) return found;
  throw unsupported(node, `"${name}", which is computed`);
}

function unsupported(node: OnnxNode, found: string): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_WEIGHT_FORM",
    problem: `${node.op} holds its weight in a form that cannot be written anew`,
    node: node.name,
    found,
  });
}

async function floatsOf(data: LazyTensor): Promise<Float32Array> {
  return toFloat32(await data.read());
}

async function codesOf(data: LazyTensor): Promise<ArrayLike<number | bigint>> {
  return contiguousData(await data.read()) as ArrayLike<number | bigint>;
}

function turn(tensor: Tensor): Tensor {
  return {
    ...tensor,
    shape: [tensor.shape[1], tensor.shape[0]],
    stride: [tensor.stride[1], tensor.stride[0]],
  };
}
