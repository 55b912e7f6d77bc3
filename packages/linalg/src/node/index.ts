export { type GraphOrthogonalFactorOptions, graphOrthogonalFactor } from "./graph-orthogonal-factor.ts";
export { type GraphRandomizedSvdOptions, graphRandomizedSvd } from "./graph-randomized-svd.ts";
export { type OpenProducts, openProducts } from "./products.ts";
