import type { Batch } from "@loomweight/graph/training";
import { full, LoomweightError, type Tensor, toFloat32 } from "@loomweight/tensor";

/** What a policy did and what it got for it. */
export interface Rollout {
  /** What the policy saw, by the names that it reads; first axis N. */
  readonly inputs: Batch;
  /** What it did: int32 or int64 [N, T], one action for each row of its logits [N, T, actions]. */
  readonly actions: Tensor;
  /** [N, T]: 1 for actions that are the policy's own, 0 for prompts and padding; default: all are. */
  readonly mask?: Tensor;
  /** One number a response and objective: [N, K]. */
  readonly rewards: Tensor;
  /** Prompt of each response: N whole numbers. */
  readonly group: ArrayLike<number>;
}

/** The rollout with its mask in float32. Throws `SHAPE_MISMATCH`, `NON_FINITE`. */
export function checkRollout(rollout: Rollout, objectives: number): Rollout & { readonly mask: Tensor } {
  const { actions, rewards, group, mask } = rollout;
  const [rows, length] = actions.shape;
  const fault = (what: string, found: readonly number[], expected: string) =>
    new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: `rollout: ${what} has shape [${found}]`,
      expected,
      found: `[${found}]`,
    });
  if (actions.shape.length !== 2) throw fault("actions", actions.shape, "[N, T]");
  if (rewards.shape.length !== 2 || rewards.shape[0] !== rows || rewards.shape[1] !== objectives) {
    throw fault("rewards", rewards.shape, `[${rows}, ${objectives}]: a number for each response and objective`);
  }
  if (group.length !== rows) throw fault("group", [group.length], `[${rows}]`);
  if (mask !== undefined && (mask.shape.length !== 2 || mask.shape[0] !== rows || mask.shape[1] !== length)) {
    throw fault("mask", mask.shape, `[${rows}, ${length}]`);
  }
  const bad = toFloat32(rewards).findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new LoomweightError({
      code: "NON_FINITE",
      problem: `rollout: reward ${bad % objectives} of response ${Math.floor(bad / objectives)} is not finite`,
      expected: "finite rewards",
    });
  }
  const own: Tensor =
    mask === undefined
      ? full([rows, length], 1)
      : { dtype: "float32", data: toFloat32(mask), shape: [rows, length], stride: [length, 1], offset: 0 };
  return { ...rollout, mask: own };
}
