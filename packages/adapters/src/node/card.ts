import { basename, resolve } from "node:path";
import type { ModelFolder } from "@loomweight/checkpoint";
import { folderFileSet } from "@loomweight/checkpoint/node";
import { type CardFacts, type CardSource, statedLicence } from "../fold/model-card.ts";
import type { Adapter } from "../peft/adapter.ts";
import { ownVersion } from "./own-version.ts";

/** The model card of a base and adapters on disk, by `foldCard` or `unfoldCard`; without paths. */
export async function cardFromFolders(
  cardOf: (facts: CardFacts) => string,
  base: ModelFolder,
  basePath: string,
  adapters: readonly Adapter[],
  adapterPaths: readonly string[],
  warnings: readonly string[],
  dtype?: string,
): Promise<string> {
  const nameOf = (path: string) => basename(resolve(path));
  const text = base.files.has("README.md") ? await base.readText("README.md") : "";
  const origin = base.config?._name_or_path;
  const sources = await Promise.all(
    adapters.map(async ({ method, config }, index): Promise<CardSource> => {
      const files = await folderFileSet(adapterPaths[index]).catch(() => undefined); // a file stands alone
      const readme = await files?.open("README.md");
      let own = "";
      if (readme !== undefined) {
        own = new TextDecoder().decode(await readme.read(0, Math.min(readme.size, 65_536)));
        await readme.close();
      }
      const trainedOn = config.values.base_model_name_or_path;
      return {
        name: nameOf(adapterPaths[index]),
        origin: typeof trainedOn === "string" && isHubName(trainedOn) ? `trained on ${trainedOn}` : undefined,
        licence: statedLicence(own),
        method: method.name,
      };
    }),
  );
  const withoutPaths = (warning: string) => {
    let plain = warning
      .replaceAll(base.checkpoint.location, nameOf(basePath))
      .replaceAll(base.location, nameOf(basePath));
    adapters.forEach(({ location }, index) => {
      plain = plain.replaceAll(location, nameOf(adapterPaths[index]));
    });
    return plain;
  };
  const facts: CardFacts = {
    base: {
      name: nameOf(basePath),
      origin: typeof origin === "string" && isHubName(origin) ? origin : undefined,
      licence: statedLicence(text),
    },
    adapters: sources,
    dtype,
    warnings: warnings.map(withoutPaths),
    tool: `@loomweight/adapters ${ownVersion()}`,
  };
  return cardOf(facts);
}

/** "organisation/model": a name on the Hugging Face hub, not a path. */
function isHubName(text: string): boolean {
  return /^[\w-]+[\w.-]*\/[\w.-]+$/.test(text) && !text.startsWith(".");
}
