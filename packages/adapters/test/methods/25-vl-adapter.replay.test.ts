import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { concat, evaluateTrace, gather, gradient, reshape, type Value } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import type { Params } from "../../src/define.ts";
import type { BlockPosition } from "../../src/define-block.ts";
import { type CompacterOptions, compacter, projection } from "../../src/methods/compacter.ts";
import { generateAdapter, type HyperformerOptions, hyperformer } from "../../src/methods/hyperformer.ts";
import { type VlAdapterOptions, vlAdapter } from "../../src/methods/vl-adapter.ts";
import { adapterRandom } from "../../src/random/adapter-random.ts";
import {
  expectRelative,
  expectStatistics,
  namesBelow,
  numbersOf,
  replayed,
  replayGradients,
  replayTraining,
  tolerance,
  type Values,
} from "../method-replay.ts";

const cases = methodCases("25-vl-adapter");
const tasksOf = (recorded: MethodCase) => recorded.options.tasks as string[];
const has = (recorded: MethodCase, name: string) => recorded.tensors.has(`param/${name}`);

/** Of every task its own tensor, or the first task's where the tasks share it: [copies, …]. */
function stacked(recorded: MethodCase, values: Values, suffix: string): Value | undefined {
  const found = tasksOf(recorded)
    .map((task) => `adapters.${task}.${suffix}`)
    .filter((name) => has(recorded, name))
    .map((name) => values(`param/${name}`));
  if (found.length === 0) return undefined;
  return concat(
    found.map((each) => reshape(each, [1, ...(each.shape as number[])])),
    0,
  );
}

const norms = {
  "pre_layer_norm.weight": "preNormWeight",
  "pre_layer_norm.bias": "preNormBias",
  "post_layer_norm.weight": "postNormWeight",
  "post_layer_norm.bias": "postNormBias",
};
const compacterNames = {
  W: "W",
  W_left: "Left",
  W_right: "Right",
  b: "Bias",
  phm_rule: "Rule",
  phm_rule_left: "RuleLeft",
  phm_rule_right: "RuleRight",
};
const adapterNames = {
  "down_sampler.weight": "down",
  "down_sampler.bias": "downBias",
  "up_sampler.weight": "up",
  "up_sampler.bias": "upBias",
};

function ownOf(recorded: MethodCase, values: Values): Record<string, Value> {
  const own: Record<string, Value> = {};
  for (const [name, ours] of Object.entries(norms)) if (has(recorded, name)) own[ours] = values(`param/${name}`);
  const names: [string, string][] =
    recorded.kind === "adapter"
      ? Object.entries(adapterNames)
      : ["down", "up"].flatMap((side) =>
          Object.entries(compacterNames).map(([name, ours]): [string, string] => [
            `${side}_sampler.${name}`,
            side + ours,
          ]),
        );
  for (const [name, ours] of names) {
    const found = stacked(recorded, values, name);
    if (found !== undefined) own[ours] = found;
  }
  return own;
}

const common = ({ options }: MethodCase) => ({
  reductionFactor: Number(options.d) / Number(options.r),
  activation: "geluTanh" as const,
  tasks: (options.tasks as string[]).length,
  sharing: options.sharing as VlAdapterOptions["sharing"],
  normBefore: Boolean(options.lnBefore),
  normAfter: Boolean(options.lnAfter),
});
const adapterOptions = (recorded: MethodCase): VlAdapterOptions => ({ ...common(recorded), init: "mam" });
function compacterOptions(recorded: MethodCase): CompacterOptions {
  const { n, factorized, rank, sharedRule, ruleSharedOverTasks, factorizedRule } = recorded.options;
  return {
    ...common(recorded),
    parts: Number(n ?? 1),
    form: recorded.kind === "low_rank" ? "lowRank" : factorized ? "factored" : "full",
    rank: Number(rank ?? 1),
    rule: sharedRule ? "model" : ruleSharedOverTasks ? "tasks" : "own",
    factoredRule: Boolean(factorizedRule),
    ruleInit: "normal",
    ruleDeviation: 0.01,
    init: "glorot",
  };
}

/** What `generate` chooses for a task, by the definitions themselves. */
function chosen(recorded: MethodCase, values: Values, task: number): Params {
  const width = Number(recorded.options.d);
  const site = { path: "layers.0.ffn", index: 0, in: width, out: width };
  const own = ownOf(recorded, values);
  const shared: Record<string, Value> = has(recorded, "phm_rule") ? { rule: values("param/phm_rule") } : {};
  const at = { task: gather(taskNumbers, task, 0) };
  return recorded.kind === "adapter"
    ? (vlAdapter.generate?.(site, { own: own as never, shared: {} }, at, adapterOptions(recorded)) as Params)
    : (compacter.generate?.(site, { own: own as never, shared }, at, compacterOptions(recorded)) as Params);
}
const taskNumbers = fromData("int64", BigInt64Array.from([0n, 1n, 2n]), [3]);

function controllerOf(recorded: MethodCase, values: Values): Value {
  const width = Number(recorded.options.d);
  const outputs = tasksOf(recorded).map((name, task) => {
    const x = values(`in/x.${name}`);
    const site = { path: "layers.0.ffn", index: 0, in: width, out: width, input: x, output: x };
    const params = chosen(recorded, values, task);
    const y =
      recorded.kind === "adapter"
        ? vlAdapter.apply(site, params, adapterOptions(recorded))
        : compacter.apply(site, params, compacterOptions(recorded));
    return reshape(y, [1, ...(x.shape as number[])]);
  });
  return concat(outputs, 0);
}

const recordedPositions: readonly [string, BlockPosition][] = [
  ["feed_forward", "feedForward"],
  ["self_attention", "selfAttention"],
  ["cross_attention", "crossAttention"],
];
const hyperOptions = ({ options }: MethodCase): HyperformerOptions => ({
  reductionFactor: Number(options.d) / Number(options.r),
  tasks: (options.tasks as string[]).length,
  layers: Number(options.layers),
  embedding: Number(options.e),
  hidden: Number(options.hidden),
  projected: Number(options.p),
  efficient: Boolean(options.efficient),
  activation: "geluTanh",
  normBefore: Boolean(options.lnBefore),
  normAfter: Boolean(options.lnAfter),
  zeroUp: false,
});
const usedPositions = (recorded: MethodCase) =>
  recordedPositions.filter(([name]) => recorded.tensors.has(`in/x.${name}`));

/** Generators of the recorded classes under the names of the definition. */
function sharedOf(recorded: MethodCase, values: Values): Params {
  const shared: Record<string, Value> = {
    taskEmbeddings: concat(
      tasksOf(recorded).map((task) =>
        reshape(values(`param/task.task_to_embeddings.${task}`), [1, Number(recorded.options.e)]),
      ),
      0,
    ),
    layerEmbeddings: values("param/hyper.layer_id_embeddings.weight"),
    mixWeight: values("param/hyper.task_hypernet.task_embeding_generator.0.weight"),
    mixBias: values("param/hyper.task_hypernet.task_embeding_generator.0.bias"),
    projectWeight: values("param/hyper.task_hypernet.task_embeding_generator.2.weight"),
    projectBias: values("param/hyper.task_hypernet.task_embeding_generator.2.bias"),
    normWeight: values("param/hyper.LayerNorm.weight"),
    normBias: values("param/hyper.LayerNorm.bias"),
  };
  const efficient = Boolean(recorded.options.efficient);
  if (efficient) shared.positionEmbeddings = values("param/hyper.adapters_block_type.weight");
  for (const [theirs, ours] of efficient ? [["", "all"]] : usedPositions(recorded)) {
    const prefix = theirs === "" ? "hyper." : `hyper.${theirs}_`;
    for (const side of ["down", "up"]) {
      shared[`${ours}.${side}.weight`] = values(`param/${prefix}${side}_sampler_hyper_net.weight_generator.0.weight`);
      shared[`${ours}.${side}.weightBias`] = values(`param/${prefix}${side}_sampler_hyper_net.weight_generator.0.bias`);
      shared[`${ours}.${side}Bias.weight`] = values(`param/${prefix}${side}_sampler_hyper_net.bias_generator.0.weight`);
      shared[`${ours}.${side}Bias.weightBias`] = values(
        `param/${prefix}${side}_sampler_hyper_net.bias_generator.0.bias`,
      );
    }
    for (const [where, name] of [
      ["pre", "preNorm"],
      ["post", "postNorm"],
    ]) {
      const net = `${prefix}${where}_layernorm_hypernet`;
      if (!has(recorded, `${net}.weight_generator.weight`)) continue;
      shared[`${ours}.${name}Weight.weight`] = values(`param/${net}.weight_generator.weight`);
      shared[`${ours}.${name}Weight.weightBias`] = values(`param/${net}.weight_generator.bias`);
      shared[`${ours}.${name}Bias.weight`] = values(`param/${net}.bias_generator.weight`);
      shared[`${ours}.${name}Bias.weightBias`] = values(`param/${net}.bias_generator.bias`);
    }
  }
  return shared;
}

function hyperOf(recorded: MethodCase, values: Values): Value {
  const given = hyperOptions(recorded);
  const width = Number(recorded.options.d);
  const shared = sharedOf(recorded, values);
  const outputs: Value[] = [];
  for (let task = 0; task < given.tasks; task++) {
    for (let layer = 0; layer < given.layers; layer++) {
      for (const [name, position] of usedPositions(recorded)) {
        const x = values(`in/x.${name}`);
        const site = {
          path: `layers.${layer}.${name}`,
          index: layer,
          in: width,
          out: width,
          position,
          input: x,
          output: x,
        };
        outputs.push(hyperformer.apply(site, generateAdapter(site, shared, task, given), given));
      }
    }
  }
  const [first] = outputs;
  return reshape(concat(outputs, 0), [
    given.tasks,
    given.layers,
    usedPositions(recorded).length,
    ...(first.shape as number[]),
  ]);
}

test("the recorded cases are there", (context) => {
  if (cases.length === 0) context.skip("methods/25-vl-adapter is not among these references");
  expect([...new Set(cases.map(({ kind }) => kind))].sort()).toEqual([
    "adapter",
    "compacter",
    "hyperformer",
    "init_statistics",
    "low_rank",
  ]);
});

describe.each(cases.filter(({ kind }) => kind !== "init_statistics"))("$name", (recorded) => {
  const { values, feeds } = replayed(recorded);
  const y = recorded.kind === "hyperformer" ? hyperOf(recorded, values) : controllerOf(recorded, values);
  test("outputs of every task, and gradients", () => {
    replayGradients(recorded, y, "out/y");
  });
  test("training", () => {
    replayTraining(recorded, y);
  });
  const last = namesBelow(recorded, "grad_last_task_only/");
  if (last.length > 0) {
    test("a batch of the last task leaves the others' tensors alone", () => {
      const count = tasksOf(recorded).length;
      const only = gather(y, count - 1, 0);
      const dy = gather(recorded.tensor("in/dy"), count - 1, 0);
      const wanted = Object.fromEntries(last.map((name) => [name, values(`param/${name}`)]));
      const found = evaluateTrace<string>(gradient(only, wanted, { upstream: dy }), feeds);
      for (const name of last)
        expectRelative(found[name], recorded.tensor(`grad_last_task_only/${name}`), tolerance.output, name);
    });
  }
  if (recorded.tensors.has("expanded/H_down")) {
    test("Kronecker products expanded", () => {
      const params = chosen(recorded, (name) => recorded.tensor(name), 0);
      for (const side of ["down", "up"] as const) {
        expectRelative(
          projection(side, params, compacterOptions(recorded)) as Tensor,
          recorded.tensor(`expanded/H_${side}`),
          tolerance.output,
          side,
        );
      }
    });
  }
  const generated = namesBelow(recorded, "generated/");
  if (generated.length > 0) {
    test("generated adapters", () => {
      const given = hyperOptions(recorded);
      const shared = sharedOf(recorded, (name) => recorded.tensor(name));
      const names: Readonly<Record<string, string>> = {
        ...{ "down.weight": "down", "down.bias": "downBias", "up.weight": "up", "up.bias": "upBias" },
        "pre_norm.weight": "preNormWeight",
        "pre_norm.bias": "preNormBias",
        "post_norm.weight": "postNormWeight",
        "post_norm.bias": "postNormBias",
      };
      const width = Number(recorded.options.d);
      for (const key of generated) {
        const [, task, layer, place, name] = /^(\w+)\.(\d+)\.(\w+)\.(.*)$/.exec(key) as RegExpExecArray;
        const position = recordedPositions.find(([theirs]) => theirs === place)?.[1];
        const site = { path: `layers.${layer}.ffn`, index: 0, in: width, out: width, position };
        const made = generateAdapter(site, shared, tasksOf(recorded).indexOf(task), given);
        expectRelative(made[names[name]] as Tensor, recorded.tensor(`generated/${key}`), tolerance.output, key);
      }
    });
  }
});

/** Tensors of many fresh adapters, under the recorded names. */
function drawsOf(recorded: MethodCase): Record<string, number[]> {
  const draws: Record<string, number[]> = {};
  const rounds = Number(recorded.entry.draws ?? 200);
  const put = (name: string, tensor: Tensor | undefined) => {
    if (tensor !== undefined) draws[name] = [...(draws[name] ?? []), ...numbersOf(tensor)];
  };
  const stats = recorded.entry.stats as Record<string, { count: number }>;
  for (let i = 0; i < rounds; i++) {
    const random = adapterRandom(i, "m");
    if (recorded.name === "init_adapter_default") {
      const site = { path: "m", index: 0, in: 16, out: 16 };
      const given: VlAdapterOptions = {
        reductionFactor: 4,
        activation: "geluTanh",
        tasks: 1,
        sharing: "single",
        normBefore: false,
        normAfter: false,
        init: "torch",
      };
      const made = vlAdapter.init(site, given, { random });
      for (const [name, ours] of Object.entries(adapterNames)) put(name, made[ours]);
    } else if (recorded.name === "init_hyperformer") {
      const size = (name: string) => stats[name].count / rounds;
      const width = size("hyper.feed_forward_up_sampler_hyper_net.bias_generator.0.bias");
      const r = size("hyper.feed_forward_down_sampler_hyper_net.bias_generator.0.bias");
      const embedding = size("task.task_to_embeddings.vqa");
      const hidden = size("hyper.task_hypernet.task_embeding_generator.0.bias");
      const projected = size("hyper.task_hypernet.task_embeding_generator.2.bias");
      const given: HyperformerOptions = {
        reductionFactor: width / r,
        tasks: 3,
        layers: 2,
        embedding,
        hidden,
        projected,
        efficient: false,
        activation: "geluTanh",
        normBefore: false,
        normAfter: false,
        zeroUp: false,
      };
      const sites = (["feedForward", "selfAttention"] as const).map((position, index) => ({
        path: `layers.0.${position}`,
        index,
        in: width,
        out: width,
        position,
      }));
      const made = hyperformer.initShared?.(sites, given, random) ?? {};
      const rows = numbersOf(made.taskEmbeddings);
      tasksOf({ ...recorded, options: { tasks: ["vqa", "gqa", "cap"] } }).forEach((task, t) => {
        draws[`task.task_to_embeddings.${task}`] = [
          ...(draws[`task.task_to_embeddings.${task}`] ?? []),
          ...rows.slice(t * embedding, (t + 1) * embedding),
        ];
      });
      put("hyper.layer_id_embeddings.weight", made.layerEmbeddings);
      put("hyper.task_hypernet.task_embeding_generator.0.weight", made.mixWeight);
      put("hyper.task_hypernet.task_embeding_generator.0.bias", made.mixBias);
      put("hyper.task_hypernet.task_embeding_generator.2.weight", made.projectWeight);
      put("hyper.task_hypernet.task_embeding_generator.2.bias", made.projectBias);
      put("hyper.LayerNorm.weight", made.normWeight);
      put("hyper.LayerNorm.bias", made.normBias);
      for (const [theirs, ours] of recordedPositions.slice(0, 2)) {
        for (const side of ["down", "up"]) {
          const net = `hyper.${theirs}_${side}_sampler_hyper_net`;
          put(`${net}.weight_generator.0.weight`, made[`${ours}.${side}.weight`]);
          put(`${net}.weight_generator.0.bias`, made[`${ours}.${side}.weightBias`]);
          put(`${net}.bias_generator.0.weight`, made[`${ours}.${side}Bias.weight`]);
          put(`${net}.bias_generator.0.bias`, made[`${ours}.${side}Bias.weightBias`]);
        }
      }
    } else {
      // in 12 → out 8, n = 4 (low rank: k = 1), drawn as the up- or down-projection of a site: sizes follow from the counts.
      const low = recorded.name === "init_low_rank";
      const factored = recorded.name.endsWith("factorized");
      const given: CompacterOptions = {
        ...common({ options: { d: 12, r: 8, tasks: ["t"], sharing: "single" } } as unknown as MethodCase),
        parts: low ? 1 : 4,
        form: low ? "lowRank" : factored ? "factored" : "full",
        rank: factored ? 2 : 1,
        rule: "own",
        factoredRule: false,
        ruleInit: "normal",
        ruleDeviation: factored ? 1e-4 : 0.01,
        init: "glorot",
      };
      const made = compacter.init({ path: "m", index: 0, in: 12, out: 12 }, given, { random });
      put("phm_rule", made.downRule);
      put("W", made.downW);
      put("W_left", made.downLeft);
      put("W_right", made.downRight);
      put("b", made.downBias);
    }
  }
  return draws;
}

describe.each(cases.filter(({ kind }) => kind === "init_statistics"))("$name", (recorded) => {
  test("initial tensors follow the recorded laws", () => {
    const draws = drawsOf(recorded);
    for (const name of Object.keys(recorded.entry.stats as object)) expectStatistics(recorded, name, draws[name]);
  });
});
