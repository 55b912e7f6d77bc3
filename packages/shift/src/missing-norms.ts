import { LoomweightError } from "@loomweight/tensor";

/** A model without what a method adapts. */
export function missingNorms(method: string, what: string): LoomweightError {
  return new LoomweightError({
    code: "MISSING_NORMALIZATION",
    problem: `${method}: the model has no ${what} to adapt`,
    fix:
      "Exporters fold batch normalizations into convolutions unless told not to (torch.onnx.export: " +
      "training=TrainingMode.PRESERVE, do_constant_folding=False); `lame` needs none.",
  });
}
