import { adapterContract } from "../../test/contract.ts";
import { lnTuning } from "./ln-tuning.ts";

adapterContract(lnTuning, [{ what: "a norm of 6", kind: "normalization", storedShape: [6], options: {} }], {
  "apply is the layer with weight": "the suite draws no input for a normalization layer yet",
  "a fresh adapter leaves the layer as it is": "its bias is the layer's only where the layer has none",
});
