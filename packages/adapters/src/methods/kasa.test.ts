import { adapterContract } from "../../test/contract.ts";
import { kasa } from "./kasa.ts";

const options = { rank: 2, alpha: 3, rankStabilized: false };
adapterContract(kasa, [{ what: "linear [6, 4]", kind: "linear", storedShape: [6, 4], options }]);
