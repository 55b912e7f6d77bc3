import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { root } from "../packages/packages.ts";

/** What a page loads for one line of import. */
export interface BundleSize {
  /** Minified. */
  readonly bytes: number;
  readonly gzipped: number;
  /** Files of the repository in it, the largest share first. */
  readonly inputs: readonly { readonly path: string; readonly bytes: number }[];
}

/**
 * Bundles `code` for the browser with esbuild, minified, from the packages' sources; onnxruntime is left out, since
 * every page brings its own.
 */
export async function measureBundle(code: string): Promise<BundleSize> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: root, loader: "ts" },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    conditions: ["@loomweight/source"],
    external: ["onnxruntime-web", "onnxruntime-web/*", "onnxruntime-node"],
  });
  const [file] = outputFiles;
  const [output] = Object.values(metafile.outputs);
  const inputs = Object.entries(output.inputs)
    .map(([path, { bytesInOutput }]) => ({ path, bytes: bytesInOutput }))
    .sort((a, b) => b.bytes - a.bytes);
  return { bytes: file.contents.length, gzipped: gzipSync(file.contents, { level: 9 }).length, inputs };
}
