/** What a formula is written with: names of the tensors and the options that apply to one tensor. */
export interface FormulaTerms {
  /** Name of the base in the formula; undefined where the method has none apart from the models. */
  readonly base: string | undefined;
  readonly models: readonly { readonly name: string; readonly options: Readonly<Record<string, unknown>> }[];
  readonly options: Readonly<Record<string, unknown>>;
}

/** A number as formulas show it: six significant digits at most. */
export function numberText(value: unknown): string {
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

/** `0.5·a + 0.3·b − 0.2·c`; a factor of 1 is left out. */
export function weightedText(terms: readonly { readonly factor: number; readonly text: string }[]): string {
  const parts = terms.map(({ factor, text }, index) => {
    const size = Math.abs(factor) === 1 ? text : `${numberText(Math.abs(factor))}·${text}`;
    if (index === 0) return factor < 0 ? `−${size}` : size;
    return factor < 0 ? ` − ${size}` : ` + ${size}`;
  });
  return parts.length === 0 ? "0" : parts.join("");
}

/** Σ weightᵢ · textᵢ of the models, divided by the sum of the weights where asked for. */
export function averageText(
  models: FormulaTerms["models"],
  normalize: boolean,
  text: (name: string) => string = (name) => name,
): string {
  const sum = weightedText(models.map(({ name, options }) => ({ factor: Number(options.weight), text: text(name) })));
  if (!normalize) return sum;
  const total = models.reduce((all, { options }) => all + Number(options.weight), 0);
  return numberText(total) === "1" ? sum : `(${sum}) / ${numberText(total)}`;
}

/**
 * base + λ · the combined task vectors of the family of TIES: `keep` says what remains of a task vector (undefined: all
 * of it), `elects` whether entries of one sign are taken.
 */
export function taskVectorsText(
  { base = "base", models, options }: FormulaTerms,
  keep: ((options: Readonly<Record<string, unknown>>) => string | undefined) | undefined,
  elects: boolean,
): string {
  if (models.length === 0) return base;
  const lambda = Number(options.lambda) === 1 ? "" : `${numberText(options.lambda)} · `;
  const kept = models.map((model) => {
    const how = keep?.(model.options);
    const dense = `(${model.name} − ${base})`;
    if (how === undefined) return { ...model, text: dense };
    return { ...model, text: `${options.rescale === true ? "rescaled " : ""}kept${dense}[${how}]` };
  });
  if (!elects) {
    const text = (name: string) => kept.find((each) => each.name === name)?.text ?? name;
    const sum = averageText(models, options.normalize === true, text);
    return `${base} + ${lambda}${models.length > 1 && options.normalize !== true && lambda !== "" ? `(${sum})` : sum}`;
  }
  const terms = kept.map(({ options: own, text }) => weightedText([{ factor: Number(own.weight), text }]));
  const combine =
    options.normalize === true
      ? "mean, by weight, of the entries with the elected sign"
      : "sum of the entries with the elected sign";
  return `${base} + ${lambda}${combine} { ${terms.join(", ")} }`;
}

/** The share of entries that a method keeps, where it is not all of them. */
export function densityText(how: string): (options: Readonly<Record<string, unknown>>) => string | undefined {
  return ({ density }) => (Number(density) >= 1 ? undefined : `${how} ${numberText(density)}`);
}
