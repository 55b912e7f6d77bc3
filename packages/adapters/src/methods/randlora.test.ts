import { adapterContract } from "../../test/contract.ts";
import { randlora } from "./randlora.ts";

const options = { rank: 2, alpha: 3 };
adapterContract(randlora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
  { what: "wide [4, 7]", kind: "linear", storedShape: [4, 7], options },
  { what: "GPT-2's Conv1D [4, 6]", kind: "transposedLinear", storedShape: [4, 6], options },
]);
