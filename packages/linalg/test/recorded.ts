import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { cast, type Tensor } from "@loomweight/tensor";

/** One line of linalg.json. What is recorded depends on the case. */
export interface RecordedCase {
  readonly name: string;
  readonly kind: string;
  readonly shape: readonly [number, number];
  readonly tensors?: Readonly<Record<string, string>>;
  readonly [fact: string]: unknown;
}

const area = fixtureArea("linalg");

/** Why nothing is replayed, where that is so. */
export const absent = area === undefined ? "fixtures/linalg is not among the bundled references" : undefined;

export const recordedCases: readonly RecordedCase[] =
  area === undefined ? [] : readFixtureJson<{ cases: RecordedCase[] }>(join(area, "linalg.json")).cases;

const tensors = area === undefined ? new Map<string, Tensor>() : readFixtureTensors(join(area, "linalg.safetensors"));

export function recordedTensor(name: string): Tensor {
  const found = tensors.get(name);
  if (found === undefined) throw new Error(`linalg.safetensors has no "${name}"`);
  return found;
}

/** A dtype to run a case in, and the README's u: the unit roundoff. */
export interface Precision {
  readonly dtype: "float64" | "float32";
  readonly u: number;
}

export const precisions: readonly Precision[] = [
  { dtype: "float64", u: 1.1e-16 },
  { dtype: "float32", u: 6e-8 },
];

export function inDType(tensor: Tensor, { dtype }: Precision): Tensor {
  return cast(tensor, dtype);
}
