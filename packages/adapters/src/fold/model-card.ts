/** A model or adapter that went into an output, as its card names it. */
export interface CardSource {
  /** Name without folders. */
  readonly name: string;
  /** Where the user's files say it comes from: "Qwen/Qwen2-0.5B". */
  readonly origin?: string;
  readonly licence?: string;
  readonly method?: string;
}

export interface CardFacts {
  /** What the adapters were folded into, or the folded model they are taken out of. */
  readonly base: CardSource;
  readonly adapters: readonly CardSource[];
  readonly dtype?: string;
  readonly warnings: readonly string[];
  /** "@loomweight/adapters 1.2.3" */
  readonly tool: string;
}

/** The licence that a model card's front matter states. */
export function statedLicence(card: string): string | undefined {
  const matter = /^---\r?\n([\s\S]{0,20000}?)\r?\n---/.exec(card)?.[1];
  const found =
    matter === undefined ? undefined : /^license(?:_name)?:[ \t]*["']?([\w.+ -]{1,100}?)["']?[ \t]*$/m.exec(matter);
  return found?.[1];
}

/**
 * README.md of a folded model: what it was made from and how, what the sources say of their licences, the version of
 * the tool. The same inputs give the same text: no time, no paths.
 */
export function foldCard(facts: CardFacts): string {
  const { base, adapters, dtype } = facts;
  return card(facts, {
    title: `${plain(base.name)} with ${adapters.length === 1 ? "an adapter" : `${adapters.length} adapters`} folded in`,
    text: `The weights of \`${code(base.name)}\` with ${adapters.map(({ name, method }) => `\`${code(name)}\` (${method})`).join(", then ")} folded into them${dtype === undefined ? "" : `, written as ${dtype}`}. Computed in float64 and rounded once.`,
    baseIs: "base model",
  });
}

/** README.md of a model that adapters were taken out of; `exact`: it holds the base's own bytes. */
export function unfoldCard(facts: CardFacts, exact: boolean): string {
  const { base, adapters } = facts;
  const names = adapters.map(({ name, method }) => `\`${code(name)}\` (${method})`).join(" and ");
  return card(facts, {
    title: `${plain(base.name)} without ${adapters.length === 1 ? "its adapter" : `its ${adapters.length} adapters`}`,
    text: exact
      ? `The base of \`${code(base.name)}\`, into which ${names} had been folded: its own bytes.`
      : `The weights of \`${code(base.name)}\` with ${names} taken back by arithmetic: equal to the base they were folded into up to rounding, not byte for byte.`,
    baseIs: "folded model",
  });
}

function card(
  { base, adapters, warnings, tool }: CardFacts,
  { title, text, baseIs }: { readonly title: string; readonly text: string; readonly baseIs: string },
): string {
  const licences = new Set([base, ...adapters].map(({ licence }) => licence ?? ""));
  const single = licences.size === 1 ? [...licences][0] : "";
  const sources = [base, ...adapters];
  const lines = [
    "---",
    `base_model: ${yaml(base.origin ?? base.name)}`,
    ...(single === "" ? [] : [`license: ${yaml(single)}`]),
    "library_name: transformers",
    "tags:",
    "  - loomweight",
    ...[...new Set(adapters.map(({ method }) => method))]
      .filter((method) => method !== undefined)
      .map((method) => `  - ${method}`),
    "---",
    "",
    `# ${title}`,
    "",
    text,
    "",
    "| source | what | from | licence stated |",
    "|---|---|---|---|",
    ...sources.map(
      ({ name, origin, licence, method }) =>
        `| \`${code(name)}\` | ${method === undefined ? baseIs : `${method} adapter`} | ${origin === undefined ? "" : `\`${code(origin)}\``} | ${licence === undefined ? "not stated" : plain(licence)} |`,
    ),
    "",
    single === "" && licences.size > 1
      ? "The sources state different licences, or some state none: check that they may be combined and passed on."
      : single === ""
        ? "No source states a licence: find out before you pass this on."
        : `All sources state the licence ${plain(single)}.`,
    ...(warnings.length === 0 ? [] : ["", "Notes:", "", ...warnings.map((warning) => `- ${plain(warning)}`)]),
    "",
    `Made with ${tool}.`,
    "",
  ];
  return lines.join("\n");
}

/** Text from a file in a line of Markdown: no markup, no control characters. */
function plain(text: string): string {
  return flat(text).replace(/[\\`*_[\]<>|#]/g, (mark) => `\\${mark}`);
}

function code(text: string): string {
  return flat(text).replace(/[`|]/g, "'");
}

function yaml(text: string): string {
  const isWord = /^[A-Za-z][\w./-]*$/.test(text) && !/^(true|false|yes|no|on|off|null|y|n)$/i.test(text);
  return isWord ? text : JSON.stringify(flat(text));
}

function flat(text: string): string {
  return text
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, " ")
    .slice(0, 300);
}
