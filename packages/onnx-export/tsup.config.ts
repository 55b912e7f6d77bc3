import { buildPackage } from "../../tsup.base.ts";

export default buildPackage(["src/index.ts", "src/node/index.ts", "src/node/write-thread.ts"]);
