import { add, div, input, max, mul, sub, type Value } from "@loomweight/graph";
import { createRandomInputs, type RandomInput } from "@loomweight/graph/training";
import type { DType } from "@loomweight/tensor";
import { isFloat, LoomweightError } from "@loomweight/tensor";
import type { Sampler } from "../define-sampler.ts";
import { expectedSize } from "../entangle/expected-size.ts";
import type { Probabilities } from "../entangle/probabilities.ts";
import { chosenNetwork } from "../network/chosen.ts";
import { type MixtureOptions, mixtureNetwork } from "../network/mixture.ts";
import type { Network } from "../network/network.ts";
import { pick } from "../network/pick.ts";
import { onlyChosen } from "../relax/one-hot.ts";
import { type Architecture, chosenIndex } from "../space/choice.ts";
import type { Space } from "../space/space.ts";
import type { Cost, NetworkLoss } from "./task.ts";

type Values = Readonly<Record<string, Value>>;

/** What a forward pass is built from. */
export interface ForwardDesign extends MixtureOptions {
  readonly space: Space;
  readonly sampler: Sampler;
  readonly loss: NetworkLoss;
  /** Prefix of the inputs that carry what was drawn; default "". */
  readonly prefix?: string;
  /** Noise of the model that several passes share; default each its own. */
  readonly noise?: ReturnType<typeof createRandomInputs>;
}

/** Name of the input that carries `name` of what was drawn for a decision. */
export const drawName = (decision: string, name: string, prefix = ""): string => `${prefix}draw/${decision}/${name}`;

/** Inputs for what is drawn, by decision. */
export function drawInputsOf({ space, sampler, prefix }: ForwardDesign, dtype: DType): Record<string, Values> {
  return Object.fromEntries(
    Object.values(space.decisions).map((decision) => [
      decision.name,
      Object.fromEntries(
        sampler.inputs.map((name) => [
          name,
          input(drawName(decision.name, name, prefix), dtype, [decision.choices.length]),
        ]),
      ),
    ]),
  );
}

/** A loss, what it is the loss of, and the noise its model asked for. */
export interface Forward {
  readonly loss: Value;
  readonly probabilities: Probabilities;
  readonly random: ReadonlyMap<string, RandomInput>;
}

/**
 * The loss at these weights and alphas. A soft sampler gives the mixture. A hard one gives the chosen network: by
 * slices where `architecture` says which is drawn, else as the mixture of one-hot probabilities, in which only the
 * chosen entries pass gradients; both are the same numbers.
 */
export function forward(
  design: ForwardDesign,
  weights: Values,
  alphas: Values,
  batch: Values,
  draws: Readonly<Record<string, Values>>,
  architecture?: Architecture,
): Forward {
  const { space, sampler } = design;
  const probabilities = Object.fromEntries(
    Object.keys(space.decisions).map((name) => [name, sampler.probabilities(alphas[name], draws[name])]),
  );
  let network: Network;
  if (!sampler.hard) network = mixtureNetwork(space, weights, probabilities, design);
  else if (architecture === undefined) {
    const masked = Object.fromEntries(
      Object.entries(probabilities).map(([name, p]) => [name, onlyChosen(p, draws[name].hard)]),
    );
    network = mixtureNetwork(space, weights, masked, design);
  } else {
    const shares = Object.fromEntries(
      Object.values(space.decisions).map((decision) => [
        decision.name,
        pick(probabilities[decision.name], chosenIndex(decision, architecture)),
      ]),
    );
    network = chosenNetwork(space, weights, architecture, { ...design, ...(sampler.trains && { shares }) });
  }
  const random = design.noise ?? createRandomInputs();
  const loss = design.loss(network, batch, { random: random.inputs });
  checkLoss(loss);
  return { loss, probabilities, random: random.declared };
}

/** weight · max(0, size / target − 1). */
export function costOf(cost: Cost, space: Space, probabilities: Probabilities): { penalty: Value; size: Value } {
  const size = (cost.of ?? expectedSize)(space, probabilities);
  return { penalty: mul(max(sub(div(size, cost.target), 1), 0), cost.weight), size };
}

/** The architecture's loss: the task's and the cost's. */
export function withCost(
  { loss, probabilities }: Forward,
  cost: Cost | undefined,
  space: Space,
): { loss: Value; size?: Value } {
  if (cost === undefined) return { loss };
  const { penalty, size } = costOf(cost, space, probabilities);
  return { loss: add(loss, penalty), size };
}

function checkLoss(loss: Value): void {
  if (isFloat(loss.dtype) && loss.shape.every((dim) => dim === 1)) return;
  throw new LoomweightError({
    code: "INVALID_LOSS",
    problem: "a loss is one float",
    expected: "shape []",
    found: `${loss.dtype} [${loss.shape}]`,
    fix: "Take its mean.",
  });
}
