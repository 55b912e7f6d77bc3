import { buildPackage } from "../../tsup.base.ts";

export default buildPackage([
  "src/index.ts",
  "src/nn/index.ts",
  "src/training/index.ts",
  "src/web/index.ts",
  "src/node/index.ts",
  "src/node/session-worker.ts",
  "src/node/runtime-worker.ts",
]);
