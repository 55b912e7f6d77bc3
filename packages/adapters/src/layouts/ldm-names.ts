/**
 * Names of a Stable Diffusion UNet's modules: as the original (LDM) checkpoints have them and as diffusers does. Blocks
 * come in levels of `perLevel` layers going down and one more going up; files of either kind adapt models of the other.
 */
const layersDown = 2;

const resnetNames: readonly (readonly [string, string])[] = [
  ["in_layers.0", "norm1"],
  ["in_layers.2", "conv1"],
  ["out_layers.0", "norm2"],
  ["out_layers.3", "conv2"],
  ["emb_layers.1", "time_emb_proj"],
  ["skip_connection", "conv_shortcut"],
];

const topNames: readonly (readonly [string, string])[] = [
  ["time_embed.0", "time_embedding.linear_1"],
  ["time_embed.2", "time_embedding.linear_2"],
  ["label_emb.0.0", "add_embedding.linear_1"],
  ["label_emb.0.2", "add_embedding.linear_2"],
  ["input_blocks.0.0", "conv_in"],
  ["out.0", "conv_norm_out"],
  ["out.2", "conv_out"],
];

/** diffusers' name of a module of an LDM UNet ("input_blocks.4.1.proj_in"); undefined where it is none. */
export function diffusersUnetName(ldm: string): string | undefined {
  const top = topNames.find(([name]) => name === ldm);
  if (top !== undefined) return top[1];
  const block = /^(input|output)_blocks\.(\d+)\.(\d)\.(.+)$/.exec(ldm);
  if (block !== null) {
    const [, side, number, part, rest] = block;
    const down = side === "input";
    const size = layersDown + 1;
    const index = Number(number) - (down ? 1 : 0);
    const [level, layer] = [Math.floor(index / size), index % size];
    const blocks = `${down ? "down" : "up"}_blocks.${level}`;
    if (down && rest === "op") return `${blocks}.downsamplers.0.conv`;
    if (!down && rest === "conv") return `${blocks}.upsamplers.0.conv`;
    if (part === "0") return within(resnetNames, rest, 0, (name) => `${blocks}.resnets.${layer}.${name}`);
    return `${blocks}.attentions.${layer}.${rest}`;
  }
  const middle = /^middle_block\.([012])\.(.+)$/.exec(ldm);
  if (middle === null) return undefined;
  if (middle[1] === "1") return `mid_block.attentions.0.${middle[2]}`;
  return within(resnetNames, middle[2], 0, (name) => `mid_block.resnets.${middle[1] === "0" ? 0 : 1}.${name}`);
}

/** The LDM name of a module of diffusers' UNet; undefined where it is none. */
export function ldmUnetName(diffusers: string): string | undefined {
  const top = topNames.find(([, name]) => name === diffusers);
  if (top !== undefined) return top[0];
  const size = layersDown + 1;
  const sampler = /^(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.conv$/.exec(diffusers);
  if (sampler !== null) {
    const level = Number(sampler[2]);
    if (sampler[1] === "down") return `input_blocks.${size * (level + 1)}.0.op`;
    // The last part of its block, after attention where the level has any: both names are offered by the caller's index.
    return `output_blocks.${size * level + layersDown}.2.conv`;
  }
  const block = /^(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d)\.(.+)$/.exec(diffusers);
  if (block !== null) {
    const [, side, level, kind, layer, rest] = block;
    const number = size * Number(level) + Number(layer) + (side === "down" ? 1 : 0);
    const place = `${side === "down" ? "input" : "output"}_blocks.${number}`;
    if (kind === "attentions") return `${place}.1.${rest}`;
    return within(resnetNames, rest, 1, (name) => `${place}.0.${name}`);
  }
  const middle = /^mid_block\.(resnets|attentions)\.([01])\.(.+)$/.exec(diffusers);
  if (middle === null) return undefined;
  if (middle[1] === "attentions") return `middle_block.1.${middle[3]}`;
  return within(resnetNames, middle[3], 1, (name) => `middle_block.${middle[2] === "0" ? 0 : 2}.${name}`);
}

function within(
  names: readonly (readonly [string, string])[],
  name: string,
  from: 0 | 1,
  make: (other: string) => string,
): string | undefined {
  const pair = names.find((each) => each[from] === name);
  return pair === undefined ? undefined : make(pair[from === 0 ? 1 : 0]);
}
