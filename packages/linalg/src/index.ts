export { type CholeskyOptions, cholesky } from "./cholesky.ts";
export type { Matrix } from "./core/dense.ts";
export { type Eigh, eigh, eigvalsh } from "./eigh.ts";
export { expm } from "./expm.ts";
export { type NewtonInverseRootOptions, newtonInverseRoot } from "./graph/inverse-root.ts";
export { type NewtonSchulzOptions, newtonSchulz } from "./graph/newton-schulz.ts";
export { type KMeans, type KMeansOptions, kMeans } from "./k-means.ts";
export { type LinearAssignment, type LinearAssignmentOptions, linearAssignment } from "./linear-assignment.ts";
export { type LogDet, logdet } from "./logdet.ts";
export { logm } from "./logm.ts";
export { type Lstsq, type LstsqOptions, lstsq } from "./lstsq.ts";
export { matrixSign } from "./matrix-sign.ts";
export { pinv } from "./pinv.ts";
export { type Polar, polar } from "./polar.ts";
export { type Procrustes, type ProcrustesOptions, procrustes } from "./procrustes.ts";
export { type Lq, lq, type Qr, qr } from "./qr.ts";
export {
  type MatrixProducts,
  type RandomizedSvd,
  type RandomizedSvdOptions,
  randomizedSvd,
  randomizedSvdOf,
} from "./randomized-svd.ts";
export { inverse, type SolveTriangularOptions, solve, solveTriangular } from "./solve.ts";
export { type InverseRootOptions, inverseRoot, sqrtm } from "./sqrtm.ts";
export { numericalRank, type Svd, type SvdOptions, singularValues, svd } from "./svd.ts";
