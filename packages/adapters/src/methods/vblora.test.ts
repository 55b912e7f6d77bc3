import { adapterContract } from "../../test/contract.ts";
import { vblora } from "./vblora.ts";

const options = { rank: 2, vectors: 5, length: 2, top: 2, onlyTop: false, bound: 0.5, deviation: 0.1 };
adapterContract(vblora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
  { what: "GPT-2's Conv1D [4, 6]", kind: "transposedLinear", storedShape: [4, 6], options },
]);
