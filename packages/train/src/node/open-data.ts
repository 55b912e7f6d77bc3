import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Dataset, imageBatch, readIdx } from "@loomweight/data";
import { decodeImage, openImageFolder } from "@loomweight/data/node";
import { fromData, LoomweightError, toFloat64 } from "@loomweight/tensor";
import type { TrainConfig } from "./config.ts";
import { type Base, classNames, readJsonFile } from "./open-base.ts";
import { readExamples, textRows } from "./text-data.ts";
import { openTrainTokenizer } from "./tokenizer.ts";

/** The data of a configuration as rows for the base; everything is in memory. Throws `MISSING_FILE`, `INVALID_DATA`. */
export async function openData(
  config: TrainConfig,
  base: Base,
  path: (name: string) => string,
): Promise<{ train: Dataset; evaluation: Dataset | undefined }> {
  const { train, evaluation } = config.data;
  const read = base.task === "image-classification" ? await imageReader(base) : await textReader(config, base, path);
  const open = async (name: string, option: string) => {
    const file = path(name);
    await stat(file).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== "ENOENT") throw cause;
      throw new LoomweightError({ code: "MISSING_FILE", problem: "there is no such data", file, option, cause });
    });
    return read(file);
  };
  return {
    train: await open(train, "data.train"),
    evaluation: evaluation === "" ? undefined : await open(evaluation, "data.evaluation"),
  };
}

async function textReader(config: TrainConfig, base: Base, path: (name: string) => string) {
  const tokenizer = await openTrainTokenizer(config.tokenizer === undefined ? base.folder : path(config.tokenizer));
  const labelled = base.task === "text-classification";
  const options = { ...config.data, tokenizer, labelled, classes: labelled ? classNames(base) : undefined };
  return async (file: string): Promise<Dataset> => textRows(await readExamples(file, options), options);
}

interface ImageForm {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly mean: readonly number[] | undefined;
  readonly deviation: readonly number[] | undefined;
}

/** Images at the size and scale of preprocessor_config.json: a folder by class, or an IDX file as MNIST is published. */
async function imageReader(base: Base) {
  const form = await imageForm(base);
  const names = classNames(base);
  return async (path: string): Promise<Dataset> =>
    (await stat(path)).isDirectory() ? folderImages(path, form, names) : idxImages(path, form, base.classes);
}

async function imageForm({ folder, model, config }: Base): Promise<ImageForm> {
  const facts = (await readJsonFile(join(folder, "preprocessor_config.json"))) ?? {};
  const shape = model.graph.inputs.find(({ name }) => name === "pixel_values")?.shape ?? [];
  const size = facts.size as { height?: number; width?: number; shortest_edge?: number } | number | undefined;
  const side = typeof size === "number" ? size : (size?.shortest_edge ?? Number(config.image_size ?? 224));
  const given = typeof size === "object" && size !== null ? size : {};
  const channels = shape[1] === 1 || config.num_channels === 1 ? 1 : 3;
  const perChannel = (value: unknown) =>
    Array.isArray(value) && value.length === channels && value.every((each) => typeof each === "number")
      ? (value as number[])
      : undefined;
  return {
    height: typeof shape[2] === "number" ? shape[2] : (given.height ?? side),
    width: typeof shape[3] === "number" ? shape[3] : (given.width ?? side),
    channels,
    mean: perChannel(facts.image_mean),
    deviation: perChannel(facts.image_std),
  };
}

async function folderImages(
  folder: string,
  { width, height, channels, mean, deviation }: ImageForm,
  names: readonly string[] | undefined,
): Promise<Dataset> {
  const { classes, images } = await openImageFolder(folder);
  const ids = classes.map((name, index) => (names === undefined ? index : names.indexOf(name)));
  const unknown = classes.find((_, index) => ids[index] < 0);
  if (unknown !== undefined) {
    throw invalid(folder, `the folder "${unknown}" is no class of the model`, names?.slice(0, 10).join(", "));
  }
  const decoded = [];
  for (const image of images) decoded.push(await decodeImage(image.path, { width, height, channels }));
  return {
    pixel_values: imageBatch(decoded, { mean, deviation }),
    labels: int64(images.map(({ label }) => ids[label])),
  };
}

async function idxImages(file: string, form: ImageForm, classes: number | undefined): Promise<Dataset> {
  const labelsFile = file.replace(/images([-.])idx3/, "labels$1idx1");
  if (labelsFile === file) throw invalid(file, "no folder of images by class", "a folder, or …images-idx3-ubyte[.gz]");
  const images = await readIdx(await readFile(file), file);
  const labels = await readIdx(await readFile(labelsFile), labelsFile);
  const { width, height, channels, mean, deviation } = form;
  const [count = 0, rows, columns] = images.shape;
  if (images.dtype !== "uint8" || channels !== 1 || rows !== height || columns !== width) {
    throw invalid(file, "the images are not of the model's size", `${channels} channel(s), ${width} × ${height}`);
  }
  const numbers = [...toFloat64(labels)];
  const wrong = numbers.find((label) => !(label >= 0 && label < (classes ?? Number.POSITIVE_INFINITY)));
  if (labels.shape.length !== 1 || numbers.length !== count || wrong !== undefined) {
    throw invalid(labelsFile, "the labels do not fit the images", `${count} numbers below ${classes ?? "the classes"}`);
  }
  const pixels = images.data as Uint8Array;
  const decoded = numbers.map((_, index) => ({
    width,
    height,
    channels,
    data: pixels.subarray(index * width * height, (index + 1) * width * height),
  }));
  return { pixel_values: imageBatch(decoded, { mean, deviation }), labels: int64(numbers) };
}

const int64 = (numbers: readonly number[]) => fromData("int64", BigInt64Array.from(numbers, BigInt), [numbers.length]);

function invalid(file: string, problem: string, expected: string | undefined): LoomweightError {
  return new LoomweightError({ code: "INVALID_DATA", problem, file, expected });
}
