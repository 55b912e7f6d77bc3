import { buildPackage } from "../../tsup.base.ts";

export default buildPackage(["src/index.ts", "src/attach/index.ts", "src/methods/*.ts", "src/node/index.ts"]);
