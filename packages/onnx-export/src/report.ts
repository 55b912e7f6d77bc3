import type { GraphName, Task } from "@loomweight/models";
import type { TensorReport } from "@loomweight/quant";
import type { ExportDType } from "./dtypes.ts";
import type { ExportTarget } from "./targets/target.ts";

/** Something the user should know that is no error. */
export interface ExportWarning {
  readonly code: string;
  readonly message: string;
  /** The model file it is about. */
  readonly file?: string;
}

/** How the outputs of a file compare with the fp32 file on the same inputs. */
export interface Verification {
  /** Whether the file was loaded and run; otherwise `reason` says why not. */
  readonly ran: boolean;
  readonly reason?: string;
  /** Largest absolute difference of the main output (logits, last_hidden_state) from fp32; undefined without an fp32 file. */
  readonly maxDifference?: number;
  /** Largest magnitude of that output in fp32, to judge the difference by. */
  readonly largest?: number;
  /** Share of positions whose largest logit is at the same place as in fp32. */
  readonly sameArgmax?: number;
}

export interface ExportedFile {
  readonly dtype: ExportDType;
  /** Which graph of the model: "model", or one of several. */
  readonly graph: GraphName;
  /** Relative to the folder: "onnx/model_q4.onnx", or "model.onnx" in a folder of genai. */
  readonly name: string;
  /** Of the model file and its external data together. */
  readonly bytes: number;
  /** Names of external data files beside it. */
  readonly external: readonly string[];
  readonly verification: Verification;
  /** What quantizing did to each weight. */
  readonly weights: readonly TensorReport[];
}

/** What an export wrote. Plain data. */
export interface ExportReport {
  readonly target: ExportTarget;
  readonly family: string;
  readonly task: Task;
  readonly files: readonly ExportedFile[];
  /** Files beside the graphs, by name. */
  readonly companions: readonly string[];
  readonly warnings: readonly ExportWarning[];
}
