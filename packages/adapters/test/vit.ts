import {
  add,
  concat,
  conv,
  expand,
  gather,
  gelu,
  matMul,
  mul,
  reduceMean,
  reshape,
  slice,
  softmax,
  split,
  transpose,
  type Value,
} from "@loomweight/graph";
import { linearOf } from "@loomweight/graph/nn";
import { normOf } from "../src/maths/bottleneck.ts";

/** A place of the ViT that a test may change: the module's path, what it reads, gives, and what that is added to. */
export interface VitSite {
  readonly path: string;
  readonly input: Value;
  readonly output: Value;
  readonly residual?: Value;
}

export interface VitOptions {
  readonly depth: number;
  readonly heads: number;
  /** Mean over patches then fc_norm, instead of the class token behind norm. */
  readonly globalPool?: boolean;
  readonly epsilon?: number;
  /** Sees the outputs of `blocks.i.attn`, `blocks.i.mlp` and `blocks.i`, and may put another value in their place. */
  readonly change?: (site: VitSite) => Value | undefined;
}

/**
 * A small pre-norm ViT with timm's names (or q_proj, k_proj, v_proj and fc1, fc2 at the block, as AdaptFormer renames
 * them): images [batch, channels, height, width] → logits.
 */
export function vit(weights: (name: string) => Value | undefined, images: Value, options: VitOptions): Value {
  const { depth, heads, globalPool = false, epsilon = 1e-6, change = () => undefined } = options;
  const get = (name: string): Value => {
    const found = weights(name);
    if (found === undefined) throw new Error(`the ViT has no ${name}`);
    return found;
  };
  const linear = (x: Value, name: string) => linearOf(x, get(`${name}.weight`), weights(`${name}.bias`));
  const norm = (x: Value, name: string) => normOf(x, get(`${name}.weight`), get(`${name}.bias`), epsilon);
  const at = (site: VitSite) => change(site) ?? site.output;
  const kernel = get("patch_embed.proj.weight");
  const [width, , patch] = kernel.shape.map(Number);
  const batch = Number(images.shape[0]);
  const grid = conv(images, kernel, get("patch_embed.proj.bias"), {
    strides: [patch, patch],
  });
  const patches = transpose(reshape(grid, [batch, width, -1]), [0, 2, 1]);
  const token = expand(get("cls_token"), [batch, 1, width]);
  let h = add(concat([token, patches], 1), get("pos_embed"));
  const tokens = Number(h.shape[1]);
  const toHeads = (x: Value) => transpose(reshape(x, [batch, tokens, heads, width / heads]), [0, 2, 1, 3]);
  for (let i = 0; i < depth; i++) {
    const block = `blocks.${i}`;
    const u = norm(h, `${block}.norm1`);
    const [q, k, v] = (
      weights(`${block}.attn.qkv.weight`) === undefined
        ? ["q_proj", "k_proj", "v_proj"].map((name) => linear(u, `${block}.attn.${name}`))
        : split(linear(u, `${block}.attn.qkv`), [width, width, width], -1)
    ).map(toHeads);
    const scores = mul(matMul(q, transpose(k, [0, 1, 3, 2])), 1 / Math.sqrt(width / heads));
    const mixed = reshape(transpose(matMul(softmax(scores), v), [0, 2, 1, 3]), [batch, tokens, width]);
    const attended = linear(mixed, `${block}.attn.proj`);
    const middle = add(h, at({ path: `${block}.attn`, input: u, output: attended, residual: h }));
    const read = norm(middle, `${block}.norm2`);
    const mlp = weights(`${block}.mlp.fc1.weight`) === undefined ? block : `${block}.mlp`;
    const output = linear(gelu(linear(read, `${mlp}.fc1`)), `${mlp}.fc2`);
    const made = add(middle, at({ path: `${block}.mlp`, input: read, output, residual: middle }));
    h = at({ path: block, input: h, output: made });
  }
  const pooled = globalPool
    ? norm(reduceMean(slice(h, { starts: [1], ends: [tokens], axes: [1] }), [1], false), "fc_norm")
    : gather(norm(h, "norm"), 0, 1);
  return linear(pooled, "head");
}
