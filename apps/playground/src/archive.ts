import type { MergedFile } from "./merge-job.ts";

const blockBytes = 512;
/** What eleven octal digits hold; larger sizes are written in binary, as GNU tar does. */
const maxOctal = 8 ** 11;

/**
 * A tar archive (POSIX.1-1988 ustar) of files in one folder. Its parts are the files' own Blobs: nothing is copied or
 * read, however large they are. Without time stamps, so the same files give the same bytes.
 */
export function tarArchive(folder: string, files: readonly MergedFile[]): Blob {
  const parts: BlobPart[] = [];
  for (const { name, content } of files) {
    parts.push(header(`${folder}/${name}`, content.size), content);
    parts.push(new Uint8Array((blockBytes - (content.size % blockBytes)) % blockBytes));
  }
  parts.push(new Uint8Array(2 * blockBytes));
  return new Blob(parts, { type: "application/x-tar" });
}

function header(path: string, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(blockBytes);
  const encoder = new TextEncoder();
  const put = (text: string, at: number) => bytes.set(encoder.encode(text), at);
  const name = encoder.encode(path);
  if (name.length > 100) throw new Error(`the name ${path} is too long for an archive`);
  bytes.set(name, 0);
  put("0000644\0", 100);
  put("0000000\0", 108);
  put("0000000\0", 116);
  if (size < maxOctal) put(`${size.toString(8).padStart(11, "0")}\0`, 124);
  else {
    bytes[124] = 0x80;
    new DataView(bytes.buffer).setBigUint64(128, BigInt(size));
  }
  put("00000000000\0", 136);
  put("        ", 148);
  put("0", 156);
  put("ustar\x0000", 257);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return bytes;
}
