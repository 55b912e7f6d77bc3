import { intsOf } from "../attributes.ts";
import { broadcast, unknownDim } from "../dims.ts";
import { defineOps } from "../op.ts";
import { badShape, inputOf, requireDtype } from "./same-dtype.ts";

/** Ops on texts. */
export const textOps = /* @__PURE__ */ defineOps({
  StringConcat: {
    inputs: [2, 2],
    infer(call) {
      requireDtype(call, 0, ["string"]);
      requireDtype(call, 1, ["string"]);
      return [{ dtype: "string", shape: broadcast([inputOf(call, 0).shape, inputOf(call, 1).shape], call.op) }];
    },
    samples: [],
  },
  StringSplit: {
    inputs: [1, 1],
    infer(call) {
      requireDtype(call, 0, ["string"]);
      const { shape } = inputOf(call, 0);
      return [
        { dtype: "string" as const, shape: [...shape, unknownDim] },
        { dtype: "int64" as const, shape },
      ].slice(0, Math.max(1, call.outputs));
    },
    samples: [],
  },
  /** Stop words are left out, so the length is not known. */
  StringNormalizer: {
    inputs: [1, 1],
    infer(call) {
      requireDtype(call, 0, ["string"]);
      const { shape } = inputOf(call, 0);
      if (shape.length !== 1 && shape.length !== 2)
        throw badShape(call, `[${shape}] is neither [texts] nor [1, texts]`);
      const drops = call.attributes.stopwords !== undefined;
      return [{ dtype: "string", shape: drops ? [...shape.slice(0, -1), unknownDim] : shape }];
    },
    samples: [],
  },
  RegexFullMatch: {
    inputs: [1, 1],
    infer(call) {
      requireDtype(call, 0, ["string"]);
      return [{ dtype: "bool", shape: inputOf(call, 0).shape }];
    },
    samples: [],
  },
  TfIdfVectorizer: {
    inputs: [1, 1],
    infer(call) {
      const { shape } = inputOf(call, 0);
      const places = intsOf(call, "ngram_indexes");
      if (places === undefined || places.length === 0) throw badShape(call, "ngram_indexes are missing");
      const width = Math.max(...places) + 1;
      return [{ dtype: "float32", shape: shape.length === 2 ? [shape[0], width] : [width] }];
    },
    samples: [],
  },
});
