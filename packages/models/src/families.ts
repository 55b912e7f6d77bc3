// Written by `pnpm gen` from the files in families/.
import { bart } from "./families/bart.ts";
import { bert } from "./families/bert.ts";
import { clip } from "./families/clip.ts";
import { convnext } from "./families/convnext.ts";
import { deit } from "./families/deit.ts";
import { dinov2 } from "./families/dinov2.ts";
import { distilbert } from "./families/distilbert.ts";
import { electra } from "./families/electra.ts";
import { gemma } from "./families/gemma.ts";
import { gemma2 } from "./families/gemma2.ts";
import { gemma3 } from "./families/gemma3.ts";
import { gptNeox } from "./families/gpt-neox.ts";
import { gpt2 } from "./families/gpt2.ts";
import { granite } from "./families/granite.ts";
import { llama } from "./families/llama.ts";
import { mistral } from "./families/mistral.ts";
import { modernbert } from "./families/modernbert.ts";
import { mpnet } from "./families/mpnet.ts";
import { olmo2 } from "./families/olmo2.ts";
import { phi } from "./families/phi.ts";
import { phi3 } from "./families/phi3.ts";
import { qwen2 } from "./families/qwen2.ts";
import { qwen3 } from "./families/qwen3.ts";
import { resnet } from "./families/resnet.ts";
import { roberta } from "./families/roberta.ts";
import { siglip } from "./families/siglip.ts";
import { smollm3 } from "./families/smollm3.ts";
import { t5 } from "./families/t5.ts";
import { vit } from "./families/vit.ts";
import { whisper } from "./families/whisper.ts";
import type { AnyFamily } from "./family.ts";

/** Every family that is built. */
export const families: readonly AnyFamily[] = [
  bart,
  bert,
  clip,
  convnext,
  deit,
  dinov2,
  distilbert,
  electra,
  gemma,
  gemma2,
  gemma3,
  gptNeox,
  gpt2,
  granite,
  llama,
  mistral,
  modernbert,
  mpnet,
  olmo2,
  phi,
  phi3,
  qwen2,
  qwen3,
  resnet,
  roberta,
  siglip,
  smollm3,
  t5,
  vit,
  whisper,
];
