// Packs what record.py wrote: node pack.mjs INPUT OUTPUT.br
import { readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, constants } from "node:zlib";

const [, , input, output] = process.argv;
const packed = brotliCompressSync(readFileSync(input), {
  params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 },
});
writeFileSync(output, packed);
console.log(`${packed.length} bytes`);
