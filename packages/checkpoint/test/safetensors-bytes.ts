/** A safetensors file from a header's text (or bytes) and a number of zero data bytes, as crafted as a test wants. */
export function fileOf(header: string | Uint8Array, dataBytes = 0, announced?: bigint): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, announced ?? BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

/** `{"a":{…}}` with fields replaced: text goes in as it is. */
export function entry(fields: { dtype?: string; shape?: string; offsets?: string; more?: string } = {}): string {
  const { dtype = '"F32"', shape = "[2]", offsets = "[0,8]", more = "" } = fields;
  return `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}${more}}`;
}
