// Written by `pnpm gen` from the files in families/.
import { bert } from "./families/bert.ts";
import { llama } from "./families/llama.ts";
import { mistral } from "./families/mistral.ts";
import { qwen2 } from "./families/qwen2.ts";
import { vit } from "./families/vit.ts";
import type { AnyFamily } from "./family.ts";

/** Every family that is built. */
export const families: readonly AnyFamily[] = [bert, llama, mistral, qwen2, vit];
