import { cast } from "@loomweight/tensor";
import { adapterContract, testRandom } from "../../test/contract.ts";
import { unilora } from "./unilora.ts";

const options = { rank: 2, length: 7, seed: 42, bound: 0.5, saveAssignment: false };
const saved = { ...options, saveAssignment: true };
adapterContract(unilora, [
  { what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options },
  {
    what: "with its assignment in the file",
    kind: "linear",
    storedShape: [5, 3],
    options: saved,
    params: (layer) =>
      Object.fromEntries(
        Object.entries(unilora.init(layer, saved, { random: testRandom() })).map(([name, tensor]) => [
          name,
          tensor.dtype === "float32" ? cast(tensor, "float64") : tensor,
        ]),
      ),
  },
  { what: "GPT-2's Conv1D [4, 6]", kind: "transposedLinear", storedShape: [4, 6], options },
]);
