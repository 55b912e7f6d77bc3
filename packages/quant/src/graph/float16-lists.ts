/**
 * Ops that stay in float32 when a graph is converted: they have no float16 form in the standard, no kernel, or no sense.
 * Source: the default block list of onnxruntime's float16 tool, and the ops of dynamic quantization, which take
 * float32 only.
 */
export const float16BlockedOps: readonly string[] = [
  "ArrayFeatureExtractor",
  "Binarizer",
  "CastMap",
  "CategoryMapper",
  "CumSum",
  "DictVectorizer",
  "DynamicQuantizeLinear",
  "FeatureVectorizer",
  "Imputer",
  "LabelEncoder",
  "LinearClassifier",
  "LinearRegressor",
  "Max",
  "Min",
  "NonMaxSuppression",
  "Normalizer",
  "OneHotEncoder",
  "RandomUniformLike",
  "Range",
  "RoiAlign",
  "SVMClassifier",
  "SVMRegressor",
  "Scaler",
  "TopK",
  "TreeEnsemble",
  "TreeEnsembleClassifier",
  "TreeEnsembleRegressor",
  "Upsample",
  "ZipMap",
];

/** Inputs that are float32 whatever the other inputs are: op → positions. */
export const alwaysFloat32Inputs: Readonly<Record<string, readonly number[]>> = {
  Resize: [2],
  GroupNorm: [1, 2],
  SkipGroupNorm: [1, 2],
};

/** Attributes that name an output's dtype. */
export const dtypeAttributes: readonly string[] = ["to", "dtype", "output_datatype"];
