import { readFileSync } from "node:fs";
import * as checkpointPackage from "@loomweight/checkpoint";
import { fromData, isFloat, type Tensor, toFloat64 } from "@loomweight/tensor";
import { expect } from "vitest";
import * as attachPackage from "../src/attach/index.ts";
import * as main from "../src/index.ts";
import * as node from "../src/node/index.ts";
import { testRandom } from "./contract.ts";

// The example on each method's page, run as it is printed. What is trained is moved by test numbers first, so that an
// adapter that did nothing would not pass.

const AsyncFunction = (async () => undefined).constructor as new (
  ...parts: string[]
) => (...values: unknown[]) => Promise<Record<string, unknown>>;

/** Runs the example with these names known to it, and gives the constants it declares that are asked for. */
export async function runExample(
  name: string,
  given: Readonly<Record<string, unknown>>,
  returned: readonly string[],
): Promise<Record<string, unknown>> {
  const page = readFileSync(new URL(`../src/methods/${name}.md`, import.meta.url), "utf8");
  const [, code] = /<!-- example:begin -->\s*```ts\n([\s\S]*?)```/.exec(page) ?? [];
  expect(code).toBeDefined();
  const packages: Record<string, unknown> = {
    "@loomweight/adapters": main,
    "@loomweight/adapters/attach": attachPackage,
    "@loomweight/adapters/node": node,
    "@loomweight/checkpoint": checkpointPackage,
  };
  const imported = code
    .replace(
      /import \{([^}]*)\} from "@loomweight\/adapters\/methods\/[^"]*";/g,
      'const {$1} = packages["@loomweight/adapters"];',
    )
    .replace(/import \{([^}]*)\} from "([^"]*)";/g, 'const {$1} = packages["$2"];')
    // The numbers that training would have given.
    .replace(/^(const attachment = .*)$/m, "$1\nconst parameters = moved(attachment);");
  const run = new AsyncFunction("packages", "moved", ...Object.keys(given), `${imported}; return { ${returned} };`);
  return run(packages, moved, ...Object.values(given));
}

/** First values with test numbers added. */
function moved({ parameters }: attachPackage.Attachment): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, tensor]) => {
      if (!isFloat(tensor.dtype)) return [name, tensor];
      const by = testRandom().uniform(name, tensor.shape, -0.1, 0.1).data;
      const own = toFloat64(tensor);
      return [
        name,
        fromData(
          "float32",
          Float32Array.from(by, (value, i) => value + own[i]),
          tensor.shape,
        ),
      ];
    }),
  );
}
