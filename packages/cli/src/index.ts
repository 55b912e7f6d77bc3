export { main } from "./main.ts";
export type { Streams, TextStream } from "./output/streams.ts";
