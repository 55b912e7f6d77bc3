import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { createScratch, type Initializer, type LazyTensor, type OnnxModel, type Scratch } from "@loomweight/graph";
import { elementCount, LoomweightError, unknownName } from "@loomweight/tensor";
import { constantReason } from "./constants.ts";
import { indexNames, type NameIndex, recipesByName } from "./match-names.ts";
import { foldedNormalization } from "./match-normalization.ts";
import { checkRecipe, indexValues, recipesByValue, type ValueIndex } from "./match-values.ts";
import { agreement, isTableOrHead, pathOfName } from "./names.ts";
import { encodedParts, latestParts } from "./parts.ts";
import { describeRecipe, type Recipe, recipeWeight, renameTensors, rowCount, sameShape, tensorsOf } from "./recipe.ts";
import type { GraphReweightReport, KeptConstant, MatchedWeight } from "./report.ts";
import { fewElements, findSlots, type WeightSlot } from "./slots.ts";

export interface ReweightOptions {
  /** The checkpoint that the graph was exported from: weights are then found, and checked, by their values. */
  readonly base?: Checkpoint;
  /** config.json of the new model: which families' norms multiply by 1 + weight. Only looked at without a base. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** A graph with new weights, read and coded one at a time when it is written, and what was found. */
export interface ReweightedModel {
  readonly model: OnnxModel;
  readonly report: GraphReweightReport;
}

const fewNumbers = "a few numbers";

interface Match {
  readonly slot: WeightSlot;
  readonly recipe: Recipe;
  readonly how: MatchedWeight["how"];
}

/**
 * The same graph with the weights of `checkpoint`, stored in the same forms. Each weight is found by the names of
 * initializers and nodes and by shape, with a base also by value. Float constants that no tensor gives stay where they
 * are few or plainly follow from the configuration.
 * @throws `UNMATCHED_WEIGHTS` naming what was not found and what was tried, `AMBIGUOUS_WEIGHT`, `MISSING_TENSOR`,
 * `UNEXPECTED_TENSOR`, `SHAPE_MISMATCH`, `UNTIED_WEIGHTS`, `UNSUPPORTED_WEIGHT_FORM`
 */
export async function reweightModel(
  model: OnnxModel,
  checkpoint: Checkpoint,
  { base, config }: ReweightOptions = {},
): Promise<ReweightedModel> {
  const reference = base ?? checkpoint;
  const toNew = base === undefined ? (name: string) => name : await counterparts(base, checkpoint);
  const slots = await findSlots(model.graph);
  const names = indexNames(reference);
  const values = base === undefined ? undefined : indexValues(base);
  const matches: Match[] = [];
  const open = new Set<WeightSlot>();
  for (const slot of slots) {
    const match =
      values === undefined
        ? matchByName(slot, names, checkpoint, normOffset(config))
        : await findMatch(slot, names, values, checkpoint, toNew);
    if (match === undefined) open.add(slot);
    else matches.push(match);
  }
  if (values !== undefined) matches.push(...(await foldedMatches(open, names, values)));
  const kept: KeptConstant[] = [];
  const missing: string[] = [];
  for (const slot of open) {
    const reason = await reasonToKeep(slot);
    if (reason === undefined) missing.push(triedFor(slot, reference, base !== undefined));
    else kept.push({ initializer: slot.name, shape: slot.form.shape, reason });
  }
  if (missing.length > 0 || matches.length === 0) throw unmatched(missing, slots.length, reference, base !== undefined);
  const renamed = matches.map((match) => ({ ...match, recipe: renameTensors(match.recipe, toNew) }));
  const used = new Set(renamed.flatMap(({ recipe }) => tensorsOf(recipe)));
  await checkTied(checkpoint, used, matches, base, toNew);
  const unused = [...checkpoint.tensors.keys()].filter((name) => !used.has(name));
  refuseLostVectors(kept, unused, checkpoint);
  return {
    model: withWeights(model, checkpoint, renamed),
    report: { matched: renamed.map((match) => matchedRow(match, checkpoint)), kept, unused },
  };
}

async function findMatch(
  slot: WeightSlot,
  names: NameIndex,
  values: ValueIndex,
  checkpoint: Checkpoint,
  toNew: (name: string) => string,
): Promise<Match | undefined> {
  const trusted: Match[] = [];
  for (const candidate of recipesByName(slot, names)) {
    const recipe = await checkRecipe(slot, candidate, values);
    if (recipe !== undefined) trusted.push({ slot, recipe, how: "name and values" });
  }
  if (trusted.length > 0) return trusted[0];
  if (elementCount(slot.form.shape) <= 2) return undefined; // so few numbers are equal by chance
  const found = await recipesByValue(slot, values);
  if (found.length === 0) return undefined;
  const recipe = found.length === 1 ? found[0] : await oneOfEqual(slot, found, checkpoint, toNew);
  return { slot, recipe, how: "values" };
}

/**
 * By names and shape alone. One tensor has to remain; a constant that carries no tensor's name was made by arithmetic
 * (a transpose, 1 + weight, a folded normalisation), which has to be one that the graph or the family tells.
 */
function matchByName(slot: WeightSlot, names: NameIndex, checkpoint: Checkpoint, offset: number): Match | undefined {
  const named = recipesByName(slot, names);
  if (named.length === 0) return undefined;
  const tensors = new Set(named.flatMap(tensorsOf));
  if (named.every(({ rows }) => rows.length === 1) && tensors.size > 1) throw ambiguous(slot, tensors, checkpoint);
  const [recipe] = named;
  const bothWays = named.length > 1 && named.some(({ transpose }) => transpose !== recipe.transpose);
  if (bothWays && !slot.ordered) throw ambiguous(slot, tensors, checkpoint);
  const own = recipesByName({ ...slot, paths: slot.paths.slice(0, 1) }, names).length > 0;
  const isNorm = recipe.width === 1 && tensorsOf(recipe).every((name) => /norm[^.]*\.weight$/i.test(name));
  if (offset !== 0 && isNorm && !slot.readers.has("Add")) return { slot, recipe: { ...recipe, offset }, how: "name" };
  return own || slot.inOut || recipe.transpose || !slot.form.exact ? { slot, recipe, how: "name" } : undefined;
}

/** What norms of a family add to their weight; exporters fold it in where the graph does not add it. */
function normOffset(config: Readonly<Record<string, unknown>> | undefined): number {
  return /^(gemma|gemma2|gemma3|gemma3_text|recurrent_gemma|nemotron)$/.test(String(config?.model_type)) ? 1 : 0;
}

/** Of tensors that are equal in the base: the one that names favour, or any where they are equal in the new model too. */
async function oneOfEqual(
  slot: WeightSlot,
  found: readonly Recipe[],
  checkpoint: Checkpoint,
  toNew: (name: string) => string,
): Promise<Recipe> {
  const score = (recipe: Recipe) =>
    Math.max(
      0,
      ...slot.paths.map((path) => Math.max(...tensorsOf(recipe).map((name) => agreement(path, pathOfName(name))))),
    );
  const scores = found.map(score);
  const best = Math.max(...scores);
  const favoured = found.filter((_, at) => scores[at] === best);
  const [first, ...others] = favoured;
  for (const other of others) {
    const [a, b] = [toNew(tensorsOf(first)[0]), toNew(tensorsOf(other)[0])];
    if (a !== b && !(await equalTensors(checkpoint, a, b))) {
      throw ambiguous(slot, new Set(favoured.flatMap(tensorsOf)), checkpoint);
    }
  }
  return first;
}

/** Convolutions with folded normalizations among the weights that are still open; takes them from there. */
async function foldedMatches(open: Set<WeightSlot>, names: NameIndex, values: ValueIndex): Promise<Match[]> {
  const byName = new Map([...open].map((slot) => [slot.name, slot]));
  const found: Match[] = [];
  for (const weight of [...open]) {
    const bias = byName.get(weight.bias ?? "");
    if (bias === undefined) continue;
    const folded = await foldedNormalization(weight, bias, names, values);
    if (folded === undefined) continue;
    found.push(
      { slot: weight, recipe: folded.weight, how: "values" },
      { slot: bias, recipe: folded.bias, how: "values" },
    );
    open.delete(weight);
    open.delete(bias);
  }
  return found;
}

async function reasonToKeep(slot: WeightSlot): Promise<string | undefined> {
  const { form } = slot;
  if (!form.exact) return undefined;
  const count = elementCount(form.shape);
  if (count <= fewElements) return fewNumbers;
  const valueAt = await form.open();
  return constantReason(
    Float32Array.from({ length: count }, (_, at) => valueAt(at)),
    form.shape,
  );
}

/**
 * Names of the base's tensors in the new model: the same, or with modules more or less around all of it; a tensor that
 * the new model does not store because it is tied to another is that other.
 */
async function counterparts(base: Checkpoint, checkpoint: Checkpoint): Promise<(name: string) => string> {
  const names = indexNames(checkpoint);
  const known = new Map<string, string>();
  for (const info of base.tensors.values()) {
    const found = checkpoint.tensors.get(info.name) ?? only(names.find([pathOfName(info.name)]));
    if (found === undefined) continue;
    if (!sameShape(found.shape, info.shape)) {
      throw new LoomweightError({
        code: "SHAPE_MISMATCH",
        problem: "a tensor of the new model has another shape than in the base",
        file: checkpoint.location,
        tensor: found.name,
        expected: `[${info.shape}]`,
        found: `[${found.shape}]`,
        fix: "Only a model of the base's architecture and sizes fits this export: export the model anew.",
      });
    }
    known.set(info.name, found.name);
  }
  for (const info of base.tensors.values()) {
    if (known.has(info.name)) continue;
    for (const twin of base.tensors.values()) {
      const place = known.get(twin.name);
      if (place === undefined || !sameShape(twin.shape, info.shape)) continue;
      if (await equalTensors(base, info.name, twin.name)) known.set(info.name, place);
    }
  }
  const reached = new Set(known.values());
  const extra = [...checkpoint.tensors.keys()].filter((name) => !reached.has(name));
  const untied = extra.filter((name) => !isTableOrHead(pathOfName(name)));
  if (untied.length > 0) {
    throw new LoomweightError({
      code: "UNEXPECTED_TENSOR",
      problem: "the new model has a tensor that the base lacks, so the export has no place for it",
      file: checkpoint.location,
      tensor: untied[0],
      found: `${untied.length} such ${untied.length === 1 ? "tensor" : "tensors"}`,
      fix: "Fold adapters first; a model of another architecture has to be exported anew.",
    });
  }
  return (name) => {
    const place = known.get(name);
    if (place !== undefined) return place;
    throw unknownName({
      kind: "tensor",
      name,
      known: checkpoint.tensors.keys(),
      code: "MISSING_TENSOR",
      file: checkpoint.location,
      fix: "The export holds this weight of the base; the new model lacks it.",
    });
  };
}

/**
 * A table and a head that are one weight in the graph, or were in the base, but two different ones in the new model:
 * one of them would be lost.
 */
async function checkTied(
  checkpoint: Checkpoint,
  used: ReadonlySet<string>,
  matches: readonly Match[],
  base: Checkpoint | undefined,
  toNew: (name: string) => string,
): Promise<void> {
  const tables = [...used].filter((name) => isTableOrHead(pathOfName(name)));
  for (const { name, shape } of checkpoint.tensors.values()) {
    if (used.has(name) || !isTableOrHead(pathOfName(name))) continue;
    for (const table of tables) {
      const other = checkpoint.tensors.get(table) as TensorInfo;
      if (!sameShape(shape, other.shape) || (await equalTensors(checkpoint, name, table))) continue;
      const wereTied =
        base === undefined || !base.tensors.has(name) || (await tiedInBase(base, name, table, matches, toNew));
      if (!wereTied) continue;
      throw new LoomweightError({
        code: "UNTIED_WEIGHTS",
        problem: `the graph has one weight for "${table}" and "${name}", which differ in the new model`,
        file: checkpoint.location,
        tensor: name,
        fix: "Export the model anew: its head is not tied to its embeddings.",
      });
    }
  }
}

async function tiedInBase(
  base: Checkpoint,
  name: string,
  table: string,
  matches: readonly Match[],
  toNew: (name: string) => string,
): Promise<boolean> {
  const origin = matches.flatMap(({ recipe }) => tensorsOf(recipe)).find((each) => toNew(each) === table) ?? table;
  return base.tensors.has(origin) && base.tensors.has(name) && equalTensors(base, origin, name);
}

async function equalTensors(checkpoint: Checkpoint, a: string, b: string): Promise<boolean> {
  const [first, second] = [checkpoint.tensors.get(a), checkpoint.tensors.get(b)];
  if (first === undefined || second === undefined || first.dtype !== second.dtype) return false;
  if (!sameShape(first.shape, second.shape)) return false;
  const step = 2 ** 22;
  for (let start = 0; start < first.byteLength; start += step) {
    const end = Math.min(first.byteLength, start + step);
    const [x, y] = await Promise.all([
      checkpoint.readBytes(a, { start, end }),
      checkpoint.readBytes(b, { start, end }),
    ]);
    if (x.some((byte, at) => byte !== y[at])) return false;
  }
  return true;
}

/** A few numbers that stay beside a tensor of just as many that nothing uses: a bias that was not recognised. */
function refuseLostVectors(kept: readonly KeptConstant[], unused: readonly string[], checkpoint: Checkpoint): void {
  for (const { initializer, shape, reason } of kept) {
    const count = elementCount(shape);
    if (reason !== fewNumbers || count < 2) continue;
    const lost = unused.find((name) => elementCount(checkpoint.tensors.get(name)?.shape ?? []) === count);
    if (lost === undefined) continue;
    throw new LoomweightError({
      code: "AMBIGUOUS_WEIGHT",
      problem: `the constant "${initializer}" may be this tensor, which nothing else in the graph is`,
      file: checkpoint.location,
      tensor: lost,
      found: `[${shape}]`,
      fix: "Give the model that was exported as base (--base), or name the initializer after the tensor.",
    });
  }
}

function only<T>(list: readonly T[]): T | undefined {
  return list.length === 1 ? list[0] : undefined;
}

function matchedRow({ slot, recipe, how }: Match, checkpoint: Checkpoint): MatchedWeight {
  const rowsOf = (name: string) => rowCount(checkpoint.tensors.get(name)?.shape ?? [], recipe.width);
  return {
    initializers: slot.form.parts,
    form: slot.form.description,
    tensors: tensorsOf(recipe),
    transform: describeRecipe(recipe, rowsOf),
    how,
  };
}

/** The model with each matched weight's initializers replaced, in their places. */
function withWeights(model: OnnxModel, checkpoint: Checkpoint, matches: readonly Match[]): OnnxModel {
  const initializers = new Map(model.graph.initializers);
  const latest = latestParts();
  const scratch: Scratch = createScratch();
  const constants = new Set(matches.flatMap(({ slot }) => slot.constant ?? []));
  for (const { slot, recipe } of matches) {
    const { form } = slot;
    const weight = recipeWeight(checkpoint, recipe, form.dtype, scratch);
    const parts: readonly LazyTensor[] = form.exact
      ? [weight]
      : encodedParts(
          latest,
          form,
          form.parts.map((name) => initializers.get(name) as Initializer),
          weight,
        );
    for (const [at, name] of form.parts.entries()) {
      const old: Initializer = initializers.get(name) ?? {
        name,
        dtype: form.dtype,
        shape: form.shape,
        data: parts[at],
      };
      initializers.set(name, { ...old, data: parts[at] });
    }
  }
  const nodes = model.graph.nodes.filter((node) => !constants.has(node));
  return { ...model, graph: { ...model.graph, nodes, initializers } };
}

function triedFor(slot: WeightSlot, reference: Checkpoint, byValue: boolean): string {
  const { name, form, paths } = slot;
  const words = paths
    .map(({ modules, kind }) => [...modules, ...(kind === "" ? [] : [kind])].join("."))
    .filter(Boolean);
  const tried = [
    `the names ${[...new Set(words)].map((each) => `"${each}"`).join(", ")}`,
    ...(byValue
      ? [`the values of every tensor of ${reference.location}, joined, transposed, scaled, by rows and folded`]
      : []),
  ];
  return `"${name}" (${form.description} [${form.shape}]): tried ${tried.join("; ")}`;
}

function unmatched(
  missing: readonly string[],
  slots: number,
  reference: Checkpoint,
  byValue: boolean,
): LoomweightError {
  const shown = missing.slice(0, 3);
  const more = missing.length > shown.length ? ` … and ${missing.length - shown.length} more` : "";
  return new LoomweightError({
    code: "UNMATCHED_WEIGHTS",
    problem:
      missing.length === 0
        ? "no weight of the graph was found among the tensors"
        : `${missing.length} of ${slots} weights of the graph are in no tensor of the model: ${shown.join("; ")}${more}`,
    file: reference.location,
    fix: byValue
      ? "Give as base the very model that was exported; or export the new model anew."
      : "Give the model that was exported as base (--base), so that weights are found by their values.",
  });
}

function ambiguous(slot: WeightSlot, tensors: ReadonlySet<string>, checkpoint: Checkpoint): LoomweightError {
  return new LoomweightError({
    code: "AMBIGUOUS_WEIGHT",
    problem: "a weight of the graph may be any of several tensors, or one of them in either order of its axes",
    file: checkpoint.location,
    tensor: slot.name,
    found: [...tensors].slice(0, 6).join(", "),
    fix: "Give the model that was exported as base (--base).",
  });
}
