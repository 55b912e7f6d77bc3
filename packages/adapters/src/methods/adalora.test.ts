import { adapterContract } from "../../test/contract.ts";
import { adalora } from "./adalora.ts";

const options = { rank: 3, alpha: 4 };
adapterContract(adalora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
  { what: "GPT-2's Conv1D [4, 6]", kind: "transposedLinear", storedShape: [4, 6], options },
  { what: "convolution [6, 3, 3, 2]", kind: "convolution", storedShape: [6, 3, 3, 2], options },
]);
