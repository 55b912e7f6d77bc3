/**
 * Folds a rank-16 LoRA on every linear layer into a Qwen2-0.5B-shaped bfloat16 model, tmpfs to tmpfs.
 * Run: npx tsx --conditions=@loomweight/source packages/adapters/bench/fold.bench.ts [folder] (default /dev/shm)
 * Figures so far are in ../README.md.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { planSafetensors } from "@loomweight/checkpoint";
import { createOutputFolder } from "@loomweight/checkpoint/node";
import { foldModel } from "../src/node/index.ts";

const folder = join(process.argv[2] ?? "/dev/shm", "loomweight-fold-bench");
const kind = process.argv[3] ?? "lora";
const [hidden, layers, intermediate, kv, vocabulary, rank] = [896, 24, 4864, 128, 151_936, 16];
const linears: readonly [string, number, number][] = [
  ["self_attn.q_proj", hidden, hidden],
  ["self_attn.k_proj", kv, hidden],
  ["self_attn.v_proj", kv, hidden],
  ["self_attn.o_proj", hidden, hidden],
  ["mlp.gate_proj", intermediate, hidden],
  ["mlp.up_proj", intermediate, hidden],
  ["mlp.down_proj", hidden, intermediate],
];

interface Planned {
  readonly name: string;
  readonly dtype: "bfloat16" | "float32";
  readonly shape: readonly number[];
}

/** Random small values: xorshift bits with the exponent of about 0.01. */
async function write(path: string, stem: string, tensors: Planned[], config: object, configName: string) {
  const output = await createOutputFolder(path, { force: true });
  const plan = planSafetensors(tensors, { fileStem: stem });
  const writer = await output.createWriter(plan);
  let state = 0x9e3779b9;
  for (const [name, { byteLength }] of plan.tensors) {
    const { dtype } = tensors.find((each) => each.name === name) as Planned;
    for (let start = 0; start < byteLength; start += 4_194_304) {
      const bytes = new Uint8Array(Math.min(4_194_304, byteLength - start));
      const next = () => {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return state;
      };
      if (dtype === "float32") {
        const values = new Float32Array(bytes.buffer);
        for (let i = 0; i < values.length; i++) values[i] = next() / 2 ** 37;
      } else {
        const codes = new Uint16Array(bytes.buffer);
        for (let i = 0; i < codes.length; i++) codes[i] = 0x3c00 | (next() & 0x807f);
      }
      await writer.write(name, start, bytes);
    }
  }
  await writer.finish();
  await output.writeFile(configName, JSON.stringify(config, null, 2));
  await output.commit();
}

const base = join(folder, "base");
if (!existsSync(base)) {
  mkdirSync(folder, { recursive: true });
  const tensors: Planned[] = [
    { name: "model.embed_tokens.weight", dtype: "bfloat16", shape: [vocabulary, hidden] },
    { name: "model.norm.weight", dtype: "bfloat16", shape: [hidden] },
  ];
  for (let layer = 0; layer < layers; layer++) {
    for (const [name, out, input] of linears) {
      tensors.push({ name: `model.layers.${layer}.${name}.weight`, dtype: "bfloat16", shape: [out, input] });
    }
  }
  await write(
    base,
    "model",
    tensors,
    { model_type: "qwen2", architectures: ["Qwen2ForCausalLM"], tie_word_embeddings: true },
    "config.json",
  );
}
const adapter = join(folder, kind);
if (!existsSync(adapter)) {
  const tensors: Planned[] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const [name, out, input] of linears) {
      const prefix = `base_model.model.model.layers.${layer}.${name}`;
      if (kind === "miss") {
        tensors.push({ name: `${prefix}.miss_block`, dtype: "float32", shape: [rank, out] });
        continue;
      }
      tensors.push({ name: `${prefix}.lora_A.weight`, dtype: "float32", shape: [rank, input] });
      tensors.push({ name: `${prefix}.lora_B.weight`, dtype: "float32", shape: [out, rank] });
      if (kind === "dora") tensors.push({ name: `${prefix}.lora_magnitude_vector`, dtype: "float32", shape: [out] });
    }
  }
  const targets = linears.map(([name]) => name.slice(name.indexOf(".") + 1));
  const config =
    kind === "miss"
      ? { peft_type: "MISS", r: rank, target_modules: targets }
      : { peft_type: "LORA", r: rank, lora_alpha: 32, use_dora: kind === "dora", target_modules: targets };
  await write(adapter, "adapter_model", tensors, config, "adapter_config.json");
}

const out = join(folder, "out");
const anonymous = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0) / 1024;
for (let run = 0; run < 3; run++) {
  rmSync(out, { recursive: true, force: true });
  let peak = 0;
  const begin = performance.now();
  const cpu = process.cpuUsage();
  await foldModel(base, [adapter], out, {
    onProgress() {
      peak = Math.max(peak, anonymous());
    },
  });
  const used = process.cpuUsage(cpu);
  process.stdout.write(
    `${kind}: ${((performance.now() - begin) / 1000).toFixed(2)} s (processor ${((used.user + used.system) / 1e6).toFixed(2)} s), RssAnon ${peak.toFixed(0)} MB\n`,
  );
}
writeFileSync(join(folder, "done"), "");
