import { invalidOption, type OptionSpec } from "@loomweight/tensor";

/** A list of whole numbers of at least 0, each once: token ids. */
export function indexList(description: string): OptionSpec<readonly number[]> {
  const range = "a list of whole numbers of at least 0, each once";
  return {
    kind: "text",
    default: [],
    description,
    range,
    check(value, place) {
      const list: unknown = typeof value === "string" ? value.split(",").map(Number) : value;
      const isList =
        Array.isArray(list) &&
        list.every((each) => Number.isSafeInteger(each) && each >= 0) &&
        new Set(list).size === list.length;
      if (!isList) throw invalidOption(place, JSON.stringify(value)?.slice(0, 200), range);
      return list as readonly number[];
    },
  };
}
