import { buildPackage } from "../../tsup.base.ts";

export default buildPackage(["src/index.ts", "src/methods/*.ts", "src/samplers/*.ts"]);
