import { adapterContract } from "../../test/contract.ts";
import { kasa } from "./kasa.ts";

const options = { rank: 2, alpha: 3, rankStabilized: false };
adapterContract(kasa, [{ what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options }], {
  "a fresh adapter leaves the layer as it is": "the base loses its smallest directions",
  "attached to a graph, it is the layer with weight":
    "it also asks that a fresh adapter changes nothing: the base loses its smallest directions",
});
