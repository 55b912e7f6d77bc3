import type { Checkpoint } from "@loomweight/checkpoint";
import { closestNames, LoomweightError } from "@loomweight/tensor";
import type { ForeignModule } from "./foreign-keys.ts";
import { diffusersUnetName, ldmUnetName } from "./ldm-names.ts";

/** The modules of one component of a foreign file, by the paths of the base's modules. */
export interface ResolvedComponent {
  readonly component: string;
  readonly modules: ReadonlyMap<string, ForeignModule>;
}

/**
 * Where a component's modules lie in checkpoints that hold several, most likely first. The empty one is a checkpoint of
 * the component alone.
 */
const places: Readonly<Record<string, readonly string[]>> = {
  lora_unet: ["", "unet.", "model.diffusion_model.", "transformer."],
  lora_transformer: ["", "transformer.", "model.diffusion_model."],
  lora_te: ["", "text_encoder.", "cond_stage_model.transformer."],
  lora_te1: ["", "text_encoder.", "conditioner.embedders.0.transformer."],
  lora_te2: ["", "text_encoder_2.", "conditioner.embedders.1.model."],
  unet: ["", "unet.", "model.diffusion_model."],
  diffusion_model: ["", "model.diffusion_model.", "diffusion_model.", "transformer."],
};

/** A base's modules under every name that a foreign file may use: the flattened path → places in front of it → module. */
type Index = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

/** Paths with "_" for ".": what kohya's keys hold. */
export function flattened(path: string): string {
  return path.replaceAll(".", "_");
}

/**
 * Finds the base's module behind every name of a foreign file, component by component: under one and the same leading
 * part. Names of Stable Diffusion's UNet are known in both of their forms. A component of which the base has nothing is
 * left out with a warning. Throws `UNKNOWN_TENSOR` with the closest names, `AMBIGUOUS_ADAPTER` where a flattened name
 * stands for several modules.
 */
export function resolveModules(
  modules: readonly ForeignModule[],
  base: Checkpoint,
  location: string,
): { readonly components: readonly ResolvedComponent[]; readonly warnings: readonly string[] } {
  const index = indexOf(base);
  const components: ResolvedComponent[] = [];
  const warnings: string[] = [];
  for (const component of new Set(modules.map((module) => module.component))) {
    const own = modules.filter((module) => module.component === component);
    const resolved = resolveComponent(component, own, index, base, location);
    if (resolved !== undefined) components.push({ component, modules: resolved });
    else {
      warnings.push(
        `${location}: ${own.length} modules of "${component}" belong to another part of the pipeline than ${base.location}, and are left out`,
      );
    }
  }
  if (components.length > 0) return { components, warnings };
  throw unknownModule(modules[0], base, location, modules.length, modules.length);
}

function indexOf(base: Checkpoint): Index {
  const index = new Map<string, Map<string, string[]>>();
  const add = (name: string, place: string, module: string) => {
    const under = index.get(name) ?? new Map<string, string[]>();
    index.set(name, under);
    const known = under.get(place);
    if (known === undefined) under.set(place, [module]);
    else if (!known.includes(module)) known.push(module);
  };
  for (const tensor of base.tensors.keys()) {
    if (!tensor.endsWith(".weight")) continue;
    const module = tensor.slice(0, -".weight".length);
    for (let start = 0; start >= 0 && start < module.length; ) {
      const [place, path] = [module.slice(0, start), module.slice(start)];
      add(flattened(path), place, module);
      for (const other of [diffusersUnetName(path), ldmUnetName(path)]) {
        if (other !== undefined) add(flattened(other), place, module);
      }
      const dot = module.indexOf(".", start);
      start = dot < 0 ? -1 : dot + 1;
    }
  }
  return index;
}

function resolveComponent(
  component: string,
  modules: readonly ForeignModule[],
  index: Index,
  base: Checkpoint,
  location: string,
): Map<string, ForeignModule> | undefined {
  const counts = new Map<string, number>();
  for (const { name } of modules) {
    for (const place of index.get(flattened(name))?.keys() ?? []) counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  if (counts.size === 0) return undefined;
  const most = Math.max(...counts.values());
  const best = [...counts].filter(([, count]) => count === most).map(([place]) => place);
  const preferred = (places[component] ?? [`${component}.`, ""]).find((place) => best.includes(place));
  const place = preferred ?? (best.length === 1 ? best[0] : undefined);
  if (place === undefined) {
    throw new LoomweightError({
      code: "AMBIGUOUS_ADAPTER",
      problem: `the modules of "${component}" lie in the base in several places`,
      file: location,
      found: best.map((each) => `"${each}"`).join(", "),
      fix: "Give the checkpoint of that part alone.",
    });
  }
  const resolved = new Map<string, ForeignModule>();
  for (const module of modules) {
    const found = index.get(flattened(module.name))?.get(place) ?? [];
    const exact = found.filter((path) => path === `${place}${module.name}`);
    const paths = exact.length === 1 ? exact : found;
    if (paths.length === 0) {
      const missing = modules.filter(({ name }) => index.get(flattened(name))?.get(place) === undefined);
      throw unknownModule(module, base, location, missing.length, modules.length);
    }
    if (paths.length > 1) {
      throw new LoomweightError({
        code: "AMBIGUOUS_ADAPTER",
        problem: `the name "${module.name}" stands for several modules of the base: kohya's keys do not tell "." from "_"`,
        file: location,
        tensor: [...module.tensors.values()][0].name,
        found: paths.join(", "),
        fix: "Convert the file to a PEFT folder with the model it was trained on.",
      });
    }
    if (resolved.has(paths[0])) {
      throw new LoomweightError({
        code: "DUPLICATE_TENSOR",
        problem: `two modules of the file are "${paths[0]}" of the base`,
        file: location,
        tensor: [...module.tensors.values()][0].name,
      });
    }
    resolved.set(paths[0], module);
  }
  return resolved;
}

function unknownModule(
  module: ForeignModule,
  base: Checkpoint,
  location: string,
  missing: number,
  total: number,
): LoomweightError {
  const names = [...base.tensors.keys()].filter((name) => name.endsWith(".weight")).map((name) => name.slice(0, -7));
  const byFlat = new Map(names.map((name) => [flattened(name), name]));
  const close = closestNames(flattened(module.name), byFlat.keys());
  return new LoomweightError({
    code: "UNKNOWN_TENSOR",
    problem: `the file changes ${missing} of ${total} modules that the base model does not have: "${module.name}"`,
    file: location,
    tensor: [...module.tensors.values()][0].name,
    expected: `a module of that name in ${base.location}`,
    found:
      close.length === 0 ? "no similar name" : `closest: ${close.map((each) => `"${byFlat.get(each)}"`).join(", ")}`,
    fix: "The file belongs to another model, or to another part of the pipeline (UNet, text encoder).",
  });
}
