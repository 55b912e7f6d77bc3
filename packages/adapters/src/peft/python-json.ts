import type { ConfigField, Json } from "./format.ts";

/**
 * JSON as Python's `json.dumps(value, indent=2, sort_keys=True)` writes it: what PEFT's files look like. Numbers of
 * `fields` marked `float` keep their `.0`.
 */
export function pythonJson(value: Json, fields: Readonly<Record<string, ConfigField>> = {}): string {
  return write(value, "", undefined, fields);
}

function write(
  value: Json,
  indent: string,
  name: string | undefined,
  fields: Readonly<Record<string, ConfigField>>,
): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return number(value, name !== undefined && fields[name]?.float === true);
  if (typeof value === "string") return text(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((each: Json) => inner + write(each, inner, undefined, {})).join(",\n")}\n${indent}]`;
  }
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0) return "{}";
  const lines = entries.map(
    ([key, each]) => `${inner}${text(key)}: ${write(each, inner, key, indent === "" ? fields : {})}`,
  );
  return `{\n${lines.join(",\n")}\n${indent}}`;
}

/** As Python's repr of a float, or of an int where it is whole and not marked as float. */
function number(value: number, isFloat: boolean): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (Number.isInteger(value)) {
    if (Math.abs(value) < 1e16) return isFloat ? `${value}.0` : String(value);
    if (!isFloat) return BigInt(value).toString();
  }
  const [mantissa, exponent] = value.toExponential().split("e");
  const power = Number(exponent);
  if (power >= -4 && power < 16) return String(value);
  return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

function text(value: string): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) =>
    unit === "\u007f" ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
