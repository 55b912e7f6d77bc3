import { defineConfig } from "tsup";

/**
 * One build for every package: ESM only (Node >= 20.19 can `require` it), every entry its own file so that bundlers
 * drop what is not used, declarations beside it.
 */
export function buildPackage(entry: string[], options: { dts?: boolean } = {}) {
  return defineConfig({
    entry: [...entry, "!src/**/*.test.ts"],
    format: ["esm"],
    target: "es2022",
    platform: "neutral",
    // Source is imported with its own extension; packages resolve each other through node_modules.
    external: [/^@loomweight\//, /^node:/],
    splitting: true,
    treeshake: true,
    sourcemap: false,
    clean: true,
    // Types of other packages come from their built declarations: checking their source again would cost minutes.
    dts: options.dts === false ? false : { compilerOptions: { customConditions: [] } },
    tsconfig: "tsconfig.json",
    outDir: "dist",
  });
}
