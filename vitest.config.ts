import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["@loomweight/source"] },
  ssr: { resolve: { conditions: ["@loomweight/source", "node", "import", "default"] } },
  test: {
    include: [
      "packages/*/{src,test}/**/*.test.ts",
      "tools/*/{src,test}/**/*.test.ts",
      "apps/*/{src,test}/**/*.test.ts",
      "examples/*.test.ts",
      "experiments/**/*.test.ts",
      "scripts/**/*.test.ts",
    ],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
  },
});
