import { expect, test } from "vitest";
import * as main from "../src/index.ts";
import * as node from "../src/node/index.ts";

test("the public names are these", () => {
  expect(Object.keys(main).sort()).toMatchInlineSnapshot(`
    [
      "blobSource",
      "bytesSource",
      "chooseWeights",
      "companionFiles",
      "describeCheckpoint",
      "diffCheckpoints",
      "dtypeOfSafetensorsName",
      "fileSetFromMap",
      "indexFileName",
      "isCompanionFile",
      "isPlainRelativePath",
      "maxHeaderBytes",
      "maxRank",
      "openCheckpointFromFiles",
      "openModelFromFileSet",
      "openModelFromFiles",
      "openSafetensors",
      "openSharded",
      "openWeights",
      "parseJson",
      "parseJsonObject",
      "parseSafetensorsHeader",
      "planSafetensors",
      "plannedTensors",
      "readHeaderLength",
      "readSafetensorsHeader",
      "safetensorsDTypes",
      "safetensorsNameOfDType",
      "streamSafetensors",
      "tensorBytes",
      "tensorFromBytes",
      "writeSafetensors",
    ]
  `);
  expect(Object.keys(node).sort()).toMatchInlineSnapshot(`
    [
      "createOutputFolder",
      "createTensorWriter",
      "diskFileSystem",
      "fileSource",
      "folderFileSet",
      "openCheckpoint",
      "openModel",
      "openPositionalWriter",
      "saveSafetensors",
      "withOutputFolder",
    ]
  `);
});
