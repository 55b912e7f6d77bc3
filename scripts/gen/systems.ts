import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "../packages/packages.ts";
import { markdownTable } from "./marked.ts";

/** A published system that belongs to the product. */
interface System {
  readonly title: string;
  readonly family: string;
  /** Name of its definition's file, of its experiment's folder and of its page in docs/methods; most have one name. */
  readonly name: string;
  /** Where its code is, if not in `packages/<family>/src/methods/<name>.ts`. */
  readonly code?: string;
}

const of = (family: string, name: string, title: string, code?: string): System => ({ family, name, title, code });

/** The forty-six systems, by family. */
export const systems: readonly System[] = [
  of("adapters", "miss", "Bone, BAT and MiSS: block-affine and shard-sharing adapters"),
  of("adapters", "hy-wu", "HY-WU: weights unleashed by a functional memory"),
  of("adapters", "hydra", "Hydra: parallel and sequential branches"),
  of("adapters", "orthogonal-adaptation", "Orthogonal Adaptation: customisation that composes"),
  of("adapters", "adaptertune", "AdapterTune: zero-initialised residual adapters"),
  of("adapters", "tera", "TeRA: vectors in a frozen random tensor network"),
  of("adapters", "vl-adapter", "VL-Adapter, Compacter and Hyperformer: adapters for several tasks"),
  of("adapters", "adaptformer", "AdaptFormer: a bottleneck beside the MLP"),
  of("adapters", "dora", "DoRA with factored norms"),
  of("adapters", "tat", "TAT: a task-adaptive transformer"),
  of("adapters", "tlora", "TLoRA: a transform as a tensor ring"),
  of("adapters", "eva", "EVA: initialised by explained variance", "packages/adapters/src/initialise/eva.ts"),
  of("adapters", "taugate", "Dopamine / TauGate: thresholds and gains of frozen neurons"),
  of("merge", "icm-fusion", "ICM-Fusion: in-context meta-optimised fusion of LoRAs"),
  of("merge", "rmm", "RMM: reversible model merging"),
  of("merge", "fusion-x", "Fusion-X: flexible fusion of several models"),
  of("merge", "known", "KNOWN: nowcasting overflowed weights"),
  of("merge", "widen", "WIDEN: merging through weight disentanglement"),
  of("merge", "pleas", "PLeaS: permutations and least squares"),
  of("merge", "lora-lego", "LoRA-LEGO: rank-wise clustering of LoRAs", "packages/merge/src/adapters/lora-lego.ts"),
  of("merge", "in-the-wild", "Merging in the wild: six methods and a protocol"),
  of("merge", "rws", "Robust Weight Signatures"),
  of("merge", "bang", "WiSE-FT and BANG: balanced averaging"),
  of("merge", "mwa", "MWA: metrics-weighted averaging of checkpoints", "packages/merge/src/adapters/mwa.ts"),
  of("merge", "opcm", "OPCM: projection-based continual merging", "packages/merge/src/continual/opcm.ts"),
  of("nas", "tanglenas", "TangleNAS: search on entangled weights"),
  of("nas", "sws", "SWS: learngenes by stage-wise sharing"),
  of("nas", "variant", "VARiant: supernets of elastic depth"),
  of("nas", "llm-qfa", "LLM-QFA: once-for-all quantized fine-tuning"),
  of("nas", "mixturegrowth", "MixtureGrowth: growing from learned templates"),
  of("quant", "ofq", "OFQ: quantization-aware training without oscillation", "packages/quant/src/qat/ofq.ts"),
  of("optim", "classp", "CLASSP, with EWC as its baseline"),
  of("optim", "paretoda", "ParetoDA: domain adaptation along the Pareto front"),
  of("optim", "adamp", "AdamP and SGDP"),
  of("optim", "weight-compander", "Weight Compander: a reparametrised weight"),
  of("shift", "eacs", "EACS: covariates selected by environment"),
  of("shift", "label-shift-adapter", "Label Shift Adapter"),
  of("shift", "cotta", "CoTTA, with TENT and BN-adapt"),
  of("shift", "lae", "LAE: learning, accumulation, ensemble"),
  of("shift", "lame", "LAME: adaptation of predictions alone"),
  of("shift", "fsa", "First Session Adaptation"),
  of("shift", "adab2n", "AdaB2N: balanced batch normalization"),
  of("shift", "presto", "PRESTO: rare events by proportional odds"),
  of("rl", "dynamic-reward-weighting", "Dynamic Reward Weighting", "packages/rl/src/methods/gradient-weights.ts"),
  of("rl", "quark-alignment", "Quark alignment weighting"),
  of("rl", "time-stepping", "A learned integration step"),
];

/** One table of all systems: what is built links to its code, page, experiment and results. */
export function systemsTable(): string {
  const rows = systems.map(({ title, family, name, code }) => {
    const file = code ?? `packages/${family}/src/methods/${name}.ts`;
    const link = (text: string, path: string) =>
      existsSync(join(root, path)) ? `[${text}](../../${path})` : undefined;
    const own = (text: string, path: string) =>
      existsSync(join(root, "docs/methods", path)) ? `[${text}](${path})` : undefined;
    const links = [
      link("code", file),
      link("page", file.replace(/\.ts$/, ".md")),
      link("experiment", `experiments/${name}`),
      own("results", `${name}.md`),
      own("figure", `${name}.svg`),
    ].filter((each) => each !== undefined);
    const state = links.length === 0 ? "not built yet" : links.length >= 4 ? "built, claim shown" : "built";
    return [title, `\`${family}\``, state, links.join(", ")];
  });
  return markdownTable(["system", "family", "state", "where"], rows);
}
