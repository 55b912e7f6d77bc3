import { type AdapterMethod, type BlockMethod, freshAdapter } from "@loomweight/adapters";
import { parseOptions } from "@loomweight/tensor";
import type { MethodEntry } from "./methods.ts";

/** What an example chooses where the defaults do not fit a small layer, or the method changes something else. */
interface Choice {
  readonly options?: Readonly<Record<string, unknown>>;
  readonly targets?: readonly string[];
}
const attention = ["q_proj", "v_proj"];
const choices: Readonly<Record<string, Choice>> = {
  adaptertune: { options: { rank: 4 }, targets: ["model.layers.0", "model.layers.1"] },
  adaptformer: { options: { bottleneck: 4 }, targets: ["mlp"] },
  beft: { targets: ["up_proj"] },
  boft: { options: { blockSize: 4 } },
  c3a: { options: { blockSize: 4 } },
  compacter: { options: { reductionFactor: 2, parts: 2 }, targets: ["mlp"] },
  fourierft: { options: { frequencies: 32 } },
  hyperformer: { options: { layers: 2, tasks: 2, embedding: 8, hidden: 8, projected: 4 }, targets: ["mlp"] },
  hydra: { targets: ["up_proj"] },
  ia3: { targets: ["v_proj", "down_proj"] },
  "ln-tuning": { targets: ["input_layernorm", "norm"] },
  oft: { options: { blockSize: 4 } },
  road: { options: { groupSize: 8 } },
  supertuning: { options: { sparsity: 0.9 } },
  taugate: { targets: ["act_fn"] },
  "trainable-tokens": { options: { tokens: [3, 5] }, targets: ["embed_tokens"] },
  vblora: { options: { rank: 2, vectors: 16, length: 4 } },
  "vl-adapter": { options: { reductionFactor: 4 }, targets: ["self_attn", "mlp"] },
  waveft: { options: { frequencies: 32 } },
};

/** The part of a method's page that is derived from its definition: an example, which a test runs, and how it is trained. */
export function adapterExample(entry: MethodEntry): string {
  const method = entry.definition as AdapterMethod | BlockMethod;
  const { options = smallRank(method), targets = attention } = choices[entry.name] ?? {};
  if (isBlock(method))
    return [blockCode(entry, options, targets), trained(entry, method, options, targets)].join("\n\n");
  const fresh = freshAdapter(method, parseOptions(method.options, options, method.name));
  if (fresh === "none") return folderCode();
  return [layerCode(entry, method, options, targets), trained(entry, method, options, targets)].join("\n\n");
}

const isBlock = (method: AdapterMethod | BlockMethod): method is BlockMethod => method.scope === "block";

const smallRank = ({ options }: AdapterMethod | BlockMethod) => (Object.hasOwn(options, "rank") ? { rank: 4 } : {});

const literal = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([key, each]) => `${key}: ${literal(each)}`)
    .join(", ")} }`;
};

function specOf({ exported }: MethodEntry, options: object, targets: readonly string[]): string {
  const own = Object.keys(options).length === 0 ? "" : ` options: ${literal(options)},`;
  const line = `{ method: ${exported},${own} targets: ${literal(targets)} }`;
  if (`const adapter = ${line};`.length <= 120) return line;
  return `{\n  method: ${exported},\n ${own}\n  targets: ${literal(targets)},\n}`;
}

function layerCode(entry: MethodEntry, method: AdapterMethod, options: object, targets: readonly string[]): string {
  const changed = method.weight === undefined ? "bias" : "weight";
  return [
    "```ts",
    'import { openFolded } from "@loomweight/adapters";',
    'import { attach, attachedFiles } from "@loomweight/adapters/attach";',
    `import { ${entry.exported} } from "@loomweight/adapters/methods/${entry.name}";`,
    'import { fileSetFromMap } from "@loomweight/checkpoint";',
    "",
    `const adapter = ${specOf(entry, options, targets)};`,
    "const attachment = await attach(model, checkpoint, adapter); // its `parameters` are trained: trainAdapter of @loomweight/train",
    `const { config, weights } = attachedFiles(attachment, { parameters }); // PEFT's two files, ${method.files.peftTypes[0]}`,
    "const files = new Map([",
    '  ["adapter_config.json", new TextEncoder().encode(config)],',
    '  ["adapter_model.safetensors", weights],',
    "]);",
    "const folded = await openFolded(checkpoint, modelConfig, [fileSetFromMap(files)]);",
    "const [{ path }] = attachment.adapters[0].modules.values();",
    `const ${changed} = await folded.read(\`\${path}.${changed}\`); // with the adapter in it`,
    "```",
  ].join("\n");
}

function blockCode(entry: MethodEntry, options: object, targets: readonly string[]): string {
  return [
    "```ts",
    'import { attach, attachedFiles, attachedModel, openBlockAdapter } from "@loomweight/adapters/attach";',
    `import { ${entry.exported} } from "@loomweight/adapters/methods/${entry.name}";`,
    'import { fileSetFromMap } from "@loomweight/checkpoint";',
    "",
    `const adapter = ${specOf(entry, options, targets)};`,
    "const attachment = await attach(model, checkpoint, adapter); // its `parameters` are trained: trainAdapter of @loomweight/train",
    "const { config, weights } = attachedFiles(attachment, { parameters });",
    "const files = new Map([",
    '  ["adapter_config.json", new TextEncoder().encode(config)],',
    '  ["adapter_model.safetensors", weights],',
    "]);",
    "const again = await attach(model, checkpoint, await openBlockAdapter(fileSetFromMap(files)));",
    "const exported = attachedModel(again); // it does not fold: the exported graph carries it",
    "```",
  ].join("\n");
}

/** A method whose adapters only files have. */
function folderCode(): string {
  return [
    "```ts",
    'import { openFoldedFolders } from "@loomweight/adapters/node";',
    "",
    "const folded = await openFoldedFolders(checkpoint, modelConfig, [folder]); // a folder that PEFT wrote",
    "```",
  ].join("\n");
}

/** The section `adapter` of a configuration for `loomweight train`. */
function trained(
  entry: MethodEntry,
  method: AdapterMethod | BlockMethod,
  options: Readonly<Record<string, unknown>>,
  targets: readonly string[],
): string {
  if (isBlock(method)) {
    const told = Object.keys(method.inputs?.(parseOptions(method.options, options, method.name)) ?? {});
    if (told.length > 0)
      return `Every batch of \`trainAdapter\` tells it its \`${told[0]}\`; \`loomweight train\` has no data that do.`;
  }
  return [
    "The same for `loomweight train`:",
    "",
    "```yaml",
    "adapter:",
    `  method: ${entry.name}`,
    ...Object.entries(options).map(([name, value]) => `  ${name}: ${literal(value)}`),
    `  targets: [${targets.join(", ")}]`,
    "```",
  ].join("\n");
}
