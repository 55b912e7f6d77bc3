import { adapterContract } from "../../test/contract.ts";
import { pvera } from "./pvera.ts";

const options = { rank: 3, initial: 0.1, seed: 5 };
adapterContract(pvera, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
  { what: "GPT-2's Conv1D [4, 6]", kind: "transposedLinear", storedShape: [4, 6], options },
]);
