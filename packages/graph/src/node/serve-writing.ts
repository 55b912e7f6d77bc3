import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { errorToWire, LoomweightError } from "@loomweight/tensor";
import { layoutOnnx } from "../codec/layout.ts";
import type { WriteOnnxOptions } from "../codec/write-onnx.ts";
import type { OnnxModel } from "../model.ts";
import { digestOf, unitsOf, type WriteUnit, writeUnit } from "./write-units.ts";
import type { WriterReply, WriterRequest } from "./writer-protocol.ts";

/** A model that several threads write, each having made it for itself from the same files and settings. */
export interface SharedModel {
  readonly model: OnnxModel;
  readonly options: WriteOnnxOptions;
  /** What has been learned since the last call while weights were computed; crosses threads. */
  drain?(): unknown;
}

/** Models by the keys under which they are written, and what ends their use. */
export interface SharedModels {
  find(key: string): SharedModel;
  close(): Promise<void>;
}

/** The whole of a writer's thread (see `createWriterPool`): `start` is given the pool's task. */
export async function serveWriting(start: (task: unknown) => Promise<SharedModels>): Promise<void> {
  const port = parentPort;
  if (port === null) return;
  const reply = (message: WriterReply) => port.postMessage(message);
  const requests: WriterRequest[] = [];
  let wake = () => {};
  port.on("message", (request: WriterRequest) => {
    requests.push(request);
    wake();
  });
  const next = async (): Promise<WriterRequest> => {
    while (requests.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return requests.shift() as WriterRequest;
  };
  const handles: FileHandle[] = [];
  const closeAll = () => Promise.all(handles.splice(0).map((each) => each.close()));
  let models: SharedModels | undefined;
  try {
    models = await start(workerData);
    let shared: SharedModel | undefined;
    let units: readonly WriteUnit[] = [];
    let name = "";
    for (let request = await next(); request.kind !== "end"; request = await next()) {
      if (request.kind === "open") {
        await closeAll();
        shared = models.find(request.key);
        const files = await layoutOnnx(shared.model, shared.options);
        if (digestOf(files) !== request.digest) throw differs(request.key);
        units = unitsOf(files);
        name = basename(request.key);
        for (const path of request.paths) handles.push(await open(path, "r+"));
        continue;
      }
      for (const unit of request.units) {
        await writeUnit(units[unit], handles, name);
        reply({ kind: "finished", unit, report: shared?.drain?.() });
      }
    }
  } catch (error) {
    reply({ kind: "failed", failure: errorToWire(error) });
  } finally {
    await closeAll();
    await models?.close();
    port.close(); // with no port to listen on the thread ends by itself
  }
}

function differs(file: string): LoomweightError {
  return new LoomweightError({
    code: "FILE_CHANGED",
    file,
    problem: "the model's files were changed while it was being written",
    fix: "Wait until nothing writes to them, then run this again.",
  });
}
