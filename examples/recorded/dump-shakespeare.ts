// First weights and batches of the Shakespeare example for PyTorch: dump-shakespeare.ts FOLDER STEPS
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeSafetensors } from "@loomweight/checkpoint";
import { readPlays } from "../data.ts";
import { batchAt, initialWeights } from "../shakespeare.ts";

const [folder, steps] = process.argv.slice(2);
const { codes, characters } = await readPlays();
await writeFile(
  join(folder, "weights.safetensors"),
  writeSafetensors(new Map(Object.entries(initialWeights(characters.length)))),
);
const batches = Array.from({ length: Number(steps) }, (_, step) =>
  Object.entries(batchAt(codes, step)).map(([name, tensor]) => [`${step}/${name}`, tensor] as const),
);
await writeFile(join(folder, "batches.safetensors"), writeSafetensors(new Map(batches.flat())));
