import { adapterContract } from "../../test/contract.ts";
import { lnTuning } from "./ln-tuning.ts";

adapterContract(lnTuning, [{ what: "a norm of 6", kind: "normalization", storedShape: [6], options: {} }]);
