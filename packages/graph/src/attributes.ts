import { LoomweightError, type Tensor } from "@loomweight/tensor";
import type { Attributes, AttributeValue } from "./value.ts";

/** Attribute values as ops write them. */
export const int = (value: number | bigint | boolean): AttributeValue => ({
  type: "int",
  value: typeof value === "boolean" ? Number(value) : value,
});
export const float = (value: number): AttributeValue => ({ type: "float", value });
export const text = (value: string): AttributeValue => ({ type: "string", value });
export const ints = (value: readonly (number | bigint)[]): AttributeValue => ({ type: "ints", value });
export const floats = (value: readonly number[]): AttributeValue => ({ type: "floats", value });
export const texts = (value: readonly string[]): AttributeValue => ({ type: "strings", value });
export const tensorAttribute = (value: Tensor): AttributeValue => ({ type: "tensor", value });

/** Attributes without those that are undefined. */
export function attributes(entries: Readonly<Record<string, AttributeValue | undefined>>): Attributes {
  return Object.fromEntries(Object.entries(entries).filter((entry): entry is [string, AttributeValue] => !!entry[1]));
}

/** Where an attribute stands, for messages. */
export interface AttributeOwner {
  readonly attributes: Attributes;
  readonly op: string;
  readonly name?: string;
}

function wrongType(owner: AttributeOwner, name: string, expected: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_ATTRIBUTE",
    problem: `attribute "${name}" of ${owner.op} has the wrong type`,
    node: owner.name,
    expected,
    found: owner.attributes[name]?.type ?? "nothing",
  });
}

function own(owner: AttributeOwner, name: string): AttributeValue | undefined {
  return Object.hasOwn(owner.attributes, name) ? owner.attributes[name] : undefined;
}

/** An int attribute as a number; throws `INVALID_ATTRIBUTE` when it is of another type or beyond 2^53. */
export function intOf<T extends number | undefined>(owner: AttributeOwner, name: string, otherwise: T): number | T {
  const value = own(owner, name);
  if (value === undefined) return otherwise;
  if (value.type !== "int" || !Number.isSafeInteger(Number(value.value))) throw wrongType(owner, name, "an integer");
  return Number(value.value);
}

export function floatOf<T extends number | undefined>(owner: AttributeOwner, name: string, otherwise: T): number | T {
  const value = own(owner, name);
  if (value === undefined) return otherwise;
  if (value.type !== "float") throw wrongType(owner, name, "a float");
  return value.value;
}

export function textOf<T extends string | undefined>(owner: AttributeOwner, name: string, otherwise: T): string | T {
  const value = own(owner, name);
  if (value === undefined) return otherwise;
  if (value.type !== "string") throw wrongType(owner, name, "a string");
  return value.value;
}

export function intsOf(owner: AttributeOwner, name: string): number[] | undefined {
  const value = own(owner, name);
  if (value === undefined) return undefined;
  if (value.type !== "ints" || value.value.some((each) => !Number.isSafeInteger(Number(each)))) {
    throw wrongType(owner, name, "integers");
  }
  return value.value.map(Number);
}

export function floatsOf(owner: AttributeOwner, name: string): readonly number[] | undefined {
  const value = own(owner, name);
  if (value === undefined) return undefined;
  if (value.type !== "floats") throw wrongType(owner, name, "floats");
  return value.value;
}

export function tensorOf(owner: AttributeOwner, name: string): Tensor | undefined {
  const value = own(owner, name);
  if (value === undefined) return undefined;
  if (value.type !== "tensor") throw wrongType(owner, name, "a tensor");
  return value.value;
}
