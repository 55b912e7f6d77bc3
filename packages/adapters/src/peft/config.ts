import { closestNames, LoomweightError, unknownName } from "@loomweight/tensor";
import type { AdapterMethod } from "../define.ts";
import { commonFields, targetFields } from "./fields.ts";
import type { ConfigField, Json, PeftConfig } from "./format.ts";

/** A checked adapter_config.json. */
export interface AdapterConfig {
  readonly method: AdapterMethod;
  /** As written, unknown empty fields included. */
  readonly written: PeftConfig;
  /** With every default filled in. */
  readonly values: PeftConfig;
  readonly warnings: readonly string[];
}

/** PEFT types that are known by name and not built. */
const otherTypes = [
  ..."ADALORA ADAMSS BEFT BOFT C3A CARTRIDGE CPT DEFT DELORA FOURIERFT FROD GLORA GRALORA HIRA HRA IA3 LILY".split(" "),
  ..."LN_TUNING LOHA LOKR MULTITASK_PROMPT_TUNING OFT OSF PEANUT POLY PREFIX_TUNING PROMPT_TUNING PSOFT PVERA".split(
    " ",
  ),
  ..."P_TUNING ADAPTION_PROMPT RANDLORA ROAD SHADOW SHIRA SUPERTUNING TINYLORA TRAINABLE_TOKENS UNILORA VBLORA".split(
    " ",
  ),
  ..."VERA WAVEFT XLORA".split(" "),
];

/** Why types whose files do not hold all that they compute with are not built. */
const irreproducible: Readonly<Record<string, string>> = {
  ADAMSS:
    "its file does not say which output each row belongs to; PEFT finds out again by scikit-learn's clustering of a random decomposition",
  PSOFT: "its file does not hold the singular vectors it turns, whose signs are those that LAPACK happened to choose",
};

/**
 * Finds the method that a configuration asks for and checks every field: what would change the weights in a way that
 * is not built is refused by name (`UNSUPPORTED_ADAPTER`), a field nobody knows is `UNKNOWN_OPTION` with the closest
 * names unless it is empty.
 */
export function checkAdapterConfig(
  written: PeftConfig,
  file: string,
  methods: readonly AdapterMethod[],
): AdapterConfig {
  const type = written.peft_type;
  if (type === undefined && typeof written.adapter_type === "string") {
    throw new LoomweightError({
      code: "NOT_AN_ADAPTER",
      problem: `an adapter of the type ${written.adapter_type.slice(0, 100)} changes what modules compute, and has no form as weights`,
      file,
      option: "adapter_type",
      fix: "Open it with openBlockAdapter and put it on the graph with attach; attachedModel exports the result.",
    });
  }
  if (typeof type !== "string") {
    throw new LoomweightError({
      code: "NOT_AN_ADAPTER",
      problem: "adapter_config.json does not say which type of adapter this is",
      file,
      option: "peft_type",
      expected: `one of ${methods
        .flatMap(({ files }) => files.peftTypes)
        .filter(unique)
        .join(", ")}`,
      found: type === undefined ? "no such field" : JSON.stringify(type),
    });
  }
  const candidates = methods.filter(({ files }) => files.peftTypes.includes(type));
  if (candidates.length === 0) throw unknownType(type, file, methods);
  const method = candidates.find(({ files }) => files.applies?.(written) ?? true) ?? candidates[0];

  const fields: Readonly<Record<string, ConfigField>> = { ...commonFields, ...targetFields, ...method.files.fields };
  const values: Record<string, Json> = {};
  const warnings: string[] = [];
  for (const [name, { default: initial }] of Object.entries(fields)) values[name] = initial;
  for (const [name, value] of Object.entries(written)) {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (field === undefined) {
      if (!isEmpty(value)) {
        throw unknownName({
          kind: `field of a ${type} adapter`,
          name,
          known: Object.keys(fields),
          code: "UNKNOWN_OPTION",
          file,
          option: name,
          fix: "It may belong to a newer version of PEFT and change the weights; remove it if it does not.",
        });
      }
      warnings.push(`${file}: unknown field "${name}" is empty and ignored`);
      continue;
    }
    if (field.use === "unsupported" && !isEmpty(value) && !sameJson(value, field.default)) {
      throw new LoomweightError({
        code: "UNSUPPORTED_ADAPTER",
        problem: `${field.what} is not supported yet`,
        file,
        option: name,
        found: JSON.stringify(value).slice(0, 200),
      });
    }
    if (value !== null || field.default === null) values[name] = value;
  }
  for (const each of method.files.warnings?.(values) ?? []) warnings.push(`${file}: ${each}`);
  return { method, written, values, warnings };
}

function unknownType(type: string, file: string, methods: readonly AdapterMethod[]): LoomweightError {
  const known = methods.flatMap(({ files }) => files.peftTypes).filter(unique);
  if (otherTypes.includes(type.toUpperCase())) {
    return new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem: Object.hasOwn(irreproducible, type.toUpperCase())
        ? `adapters of the type ${type} cannot be reproduced: ${irreproducible[type.toUpperCase()]}`
        : `adapters of the type ${type} are not supported yet`,
      file,
      option: "peft_type",
      expected: known.join(", "),
      found: type,
    });
  }
  const close = closestNames(type, [...known, ...otherTypes]);
  return new LoomweightError({
    code: "UNKNOWN_ADAPTER",
    problem: `unknown type of adapter "${type.slice(0, 100)}"`,
    file,
    option: "peft_type",
    expected: known.join(", "),
    fix: close.length === 0 ? undefined : `Did you mean ${close.join(" or ")}?`,
  });
}

function unique<T>(value: T, index: number, all: readonly T[]): boolean {
  return all.indexOf(value) === index;
}

/** null, false, "", 0, [] and {}: what a feature that is switched off looks like. */
function isEmpty(value: Json): boolean {
  if (value === null || value === false || value === "" || value === 0) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** Equality of JSON values; the order of names does not count. */
function sameJson(a: Json, b: Json): boolean {
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  const names = Object.keys(a);
  return (
    Array.isArray(a) === Array.isArray(b) &&
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && sameJson((a as PeftConfig)[name], (b as PeftConfig)[name]))
  );
}
