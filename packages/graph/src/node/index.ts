export { type OpenedOnnx, openOnnxFile, readOnnxFile, writeOnnxFile } from "./files.ts";
