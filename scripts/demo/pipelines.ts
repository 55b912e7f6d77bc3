import { resolve } from "node:path";
import { env, pipeline, RawImage } from "@huggingface/transformers";
import type { Tensor } from "@loomweight/tensor";

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = "/";

/** The greedy continuation of a prompt by transformers.js, without the prompt. */
export async function writeText(folder: string, dtype: "fp32" | "q4", prompt: string, tokens: number): Promise<string> {
  const generate = await pipeline("text-generation", resolve(folder), { dtype });
  const [made] = (await generate(prompt, {
    max_new_tokens: tokens,
    do_sample: false,
    return_full_text: false,
  })) as { generated_text: string }[];
  await generate.dispose();
  return made.generated_text;
}

/** Labels that transformers.js gives to the first `count` grey images [n, 1, height, width]. */
export async function classifyImages(
  folder: string,
  dtype: "fp32" | "q4",
  images: Tensor,
  count: number,
): Promise<string[]> {
  const classify = await pipeline("image-classification", resolve(folder), { dtype });
  const [, , height, width] = images.shape;
  const bytes = images.data as Uint8Array;
  const labels: string[] = [];
  for (let i = 0; i < count; i++) {
    const image = new RawImage(bytes.slice(i * height * width, (i + 1) * height * width), width, height, 1);
    const [best] = (await classify(image)) as { label: string }[];
    labels.push(best.label.replace("LABEL_", ""));
  }
  await classify.dispose();
  return labels;
}
