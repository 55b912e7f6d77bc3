import { openModel } from "@loomweight/checkpoint/node";
import { openOnnxFile, serveWriting } from "@loomweight/graph/node";
import { planExport } from "../plan.ts";
import { exportedModel, quantizedModel, type WriteTask, withPlainWeights } from "./shared-models.ts";

// A thread that writes exports and quantized files together with the one that started it: it makes the same plan.
void serveWriting(async (told) => {
  const task = told as WriteTask;
  if (task.kind === "export") {
    const folder = await openModel(task.path);
    const { graphs } = await planExport(folder, task.options);
    const byFile = new Map(graphs.map((each) => [each.file, each]));
    return {
      find(key) {
        const graph = byFile.get(key);
        if (graph === undefined) throw new Error(`no graph for the file ${key}`);
        return exportedModel(graph, task.layout);
      },
      close: folder.close,
    };
  }
  const { model: given, close } = await openOnnxFile(task.path);
  const model = await withPlainWeights(given, task.dtype);
  return {
    find: (key) => quantizedModel(model, task.dtype, task.options, { ...task.layout, fileName: key }),
    close,
  };
});
