// node --conditions=@loomweight/source --import tsx scripts/bundle-size/run.ts [--inputs]
// What one method of each family weighs in a page.
import { entries } from "./entries.ts";
import { measureBundle } from "./measure.ts";

for (const [name, { code, limit }] of Object.entries(entries)) {
  const { bytes, gzipped, inputs } = await measureBundle(code);
  const kilobytes = (count: number) => `${(count / 1000).toFixed(1)} kB`;
  console.log(
    `${gzipped <= limit ? "fits   " : "TOO BIG"} ${name}: ${kilobytes(gzipped)} (${kilobytes(bytes)} before gzip)`,
  );
  if (process.argv.includes("--inputs"))
    for (const each of inputs.slice(0, 12)) console.log(`        ${kilobytes(each.bytes)} ${each.path}`);
  if (gzipped > limit) process.exitCode = 1;
}
