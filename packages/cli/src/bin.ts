import { main } from "./main.ts";

void main(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  environment: process.env,
}).then((exitCode) => {
  // Not process.exit: it would cut off output still on its way and abort a running session.
  process.exitCode = exitCode;
});
