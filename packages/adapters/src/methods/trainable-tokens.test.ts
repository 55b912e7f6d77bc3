import { adapterContract } from "../../test/contract.ts";
import { trainableTokens } from "./trainable-tokens.ts";

adapterContract(trainableTokens, [
  { what: "three tokens of eleven", kind: "embedding", storedShape: [11, 4], options: { tokens: [7, 0, 10] } },
]);
