// Written by `pnpm gen` from the files in methods/.
import type { AnyMergeMethod } from "./define.ts";
import { linear } from "./methods/linear.ts";
import { passthrough } from "./methods/passthrough.ts";
import { slerp } from "./methods/slerp.ts";
import { taskArithmetic } from "./methods/task-arithmetic.ts";
import { ties } from "./methods/ties.ts";

/** Every merge method by name: what recipes and the command line look methods up in. */
export const mergeMethods: readonly AnyMergeMethod[] = [linear, passthrough, slerp, taskArithmetic, ties];
