import { main } from "../src/main.ts";

/** Runs the command in this process: its exit code and what it prints. */
export async function run(...words: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write(part: string) {
      text[name] += part;
    },
  });
  const exitCode = await main(words, { stdout: stream("stdout"), stderr: stream("stderr") });
  return { exitCode, ...text };
}
