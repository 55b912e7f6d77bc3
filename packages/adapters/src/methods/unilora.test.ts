import { adapterContract } from "../../test/contract.ts";
import { unilora } from "./unilora.ts";

const options = { rank: 2, length: 7, seed: 42, bound: 0.5, saveAssignment: false };
adapterContract(
  unilora,
  [
    { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
    { what: "with its assignment in the file", kind: "linear", storedShape: [5, 3], options },
    { what: "GPT-2's Conv1D [4, 6]", kind: "transposedLinear", storedShape: [4, 6], options },
  ],
  {
    "a fresh adapter leaves the layer as it is": "its numbers start small and random",
    "attached to a graph, it is the layer with weight":
      "it also asks that a fresh adapter changes nothing: its numbers start small and random",
  },
);
