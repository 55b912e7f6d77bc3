import { adapterContract } from "../../test/contract.ts";
import { bdlora } from "./bdlora.ts";

const plain = { rank: 4, alpha: 3, rankStabilized: false, blocks: 2 };
adapterContract(bdlora, [
  { what: "A in blocks", kind: "linear", storedShape: [6, 4], options: { ...plain, diagonal: "A" } },
  { what: "B in blocks", kind: "linear", storedShape: [6, 4], options: { ...plain, diagonal: "B" } },
  {
    what: "B in blocks of GPT-2's Conv1D",
    kind: "transposedLinear",
    storedShape: [4, 6],
    options: { ...plain, diagonal: "B" },
  },
]);
