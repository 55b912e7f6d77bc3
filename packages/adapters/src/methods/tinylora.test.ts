import { adapterContract } from "../../test/contract.ts";
import { tinylora } from "./tinylora.ts";

const options = { rank: 2, numbers: 4, tying: 0, seed: 42, bound: 0.5 };
adapterContract(tinylora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
  { what: "GPT-2's Conv1D [4, 6]", kind: "transposedLinear", storedShape: [4, 6], options },
  { what: "embedding [7, 4]", kind: "embedding", storedShape: [7, 4], options },
]);
