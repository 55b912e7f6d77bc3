export * from "./image-folder.ts";
