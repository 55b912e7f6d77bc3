import { type Cursor, expectType, lengthType, readInteger, readTag, readText, varintType } from "../protobuf/reader.ts";

/** An OperatorSetIdProto. */
export function decodeOpset(cursor: Cursor): [domain: string, version: number] {
  let domain = "";
  let version = 0;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number === 1) {
      expectType(cursor, field, lengthType);
      domain = readText(cursor);
    } else {
      expectType(cursor, field, varintType);
      version = readInteger(cursor);
    }
  }
  return [domain, version];
}
