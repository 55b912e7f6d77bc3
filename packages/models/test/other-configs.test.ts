import { LoomweightError } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { readFamilyConfig } from "../src/build.ts";
import { detectTask, familyOf, readConfigFields } from "../src/index.ts";
import { otherConfigs } from "./other-configs.ts";

/** "family task", or the message of the refusal. */
function read(config: Readonly<Record<string, unknown>>): string {
  try {
    const folder = { location: "model", config };
    const family = familyOf(folder);
    readFamilyConfig(family, readConfigFields(config, "config.json"), []);
    return `${family.name} ${detectTask(folder)}`;
  } catch (cause) {
    if (!(cause instanceof LoomweightError)) throw cause;
    return cause.message;
  }
}

describe("a configuration that nobody tested is read right or refused by name", () => {
  for (const [name, { config, outcome }] of Object.entries(otherConfigs)) {
    test(name, () => {
      if (typeof outcome === "string") expect(read(config)).toBe(outcome);
      else expect(read(config)).toMatch(outcome);
    });
  }
});
