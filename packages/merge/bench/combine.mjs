// Combining two rank-16 adapters of every linear layer of a 0.5B-shaped model by svd: node packages/merge/bench/combine.mjs
// (build first). Peers: PEFT's add_weighted_adapter on the same shapes takes over a minute and 6 GB.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { layerOf, lora, newAdapterFiles } from "@loomweight/adapters";
import { combineAdapterFolders } from "@loomweight/merge/node";
import { createRandom, normal } from "@loomweight/tensor";

const [hidden, wide, keys, layers, rank] = [896, 4864, 128, 24, 16];
const linear = {
  "self_attn.q_proj": [hidden, hidden],
  "self_attn.k_proj": [keys, hidden],
  "self_attn.v_proj": [keys, hidden],
  "self_attn.o_proj": [hidden, hidden],
  "mlp.gate_proj": [wide, hidden],
  "mlp.up_proj": [wide, hidden],
  "mlp.down_proj": [hidden, wide],
};
const folder = mkdtempSync(join(tmpdir(), "loomweight-combine-bench-"));
try {
  const paths = ["a", "b"].map((name, seed) => {
    const modules = new Map();
    for (let layer = 0; layer < layers; layer++) {
      for (const [module, [out, inner]] of Object.entries(linear)) {
        const path = `model.layers.${layer}.${module}`;
        const random = createRandom(seed, path);
        modules.set(path, {
          layer: layerOf("linear", [out, inner]),
          params: {
            A: normal([rank, inner], random.child("A")),
            B: normal([out, rank], random.child("B"), { deviation: 0.02 }),
          },
        });
      }
    }
    const files = newAdapterFiles({ method: lora, options: { rank, alpha: rank }, modules });
    const path = join(folder, name);
    return { path, files };
  });
  for (const { path, files } of paths) {
    mkdirSync(path);
    writeFileSync(join(path, "adapter_config.json"), files.config);
    writeFileSync(join(path, "adapter_model.safetensors"), files.weights);
  }
  for (const combination of ["cat", "linear", "ties", "svd"]) {
    const [began, cpu] = [performance.now(), process.cpuUsage()];
    await combineAdapterFolders(
      paths.map(({ path }) => path),
      join(folder, combination),
      { weights: [0.7, 0.4], combination },
    );
    const used = process.cpuUsage(cpu);
    const seconds = (performance.now() - began) / 1000;
    console.log(
      `${combination}: ${seconds.toFixed(2)} s, processor ${((used.user + used.system) / 1e6).toFixed(2)} s, peak ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
