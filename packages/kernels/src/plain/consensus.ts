import type { KernelFunctions } from "../kernels.ts";

/** The plain twins of assembly/consensus.ts. */
export const consensus: Pick<KernelFunctions, "weightedConsensus" | "electedMean" | "variance"> = {
  weightedConsensus(out, inputs, weights, normalize, limit) {
    let isBad = false;
    for (let i = 0; i < out.length; i++) {
      let total = 0;
      for (let j = 0; j < inputs.length; j++) total += inputs[j][i] * weights[j];
      let agreed = 0;
      let agreeing = 0;
      for (let j = 0; j < inputs.length; j++) {
        const x = inputs[j][i] * weights[j];
        if (total >= 0 ? x > 0 : x < 0) {
          agreed += x;
          agreeing += weights[j];
        }
      }
      out[i] = !normalize || Math.abs(agreeing) < limit ? agreed : agreed / agreeing;
      if (!Number.isFinite(total)) isBad = true;
    }
    return isBad;
  },
  electedMean(out, base, inputs, weights, floor) {
    for (let i = 0; i < out.length; i++) {
      let vote = 0;
      for (const input of inputs) vote += input[i];
      let sum = 0;
      let agreeing = 0;
      for (let j = 0; j < inputs.length; j++) {
        const x = inputs[j][i];
        if (vote >= 0 ? x > 0 : x < 0) {
          sum += weights[j] * x;
          agreeing += weights[j];
        }
      }
      // biome-ignore lint/complexity/useMathMinMax: Math.max gives NaN for a NaN weight, the SIMD form the floor
      out[i] = base[i] + sum / (floor < agreeing ? agreeing : floor) + (vote - vote);
    }
  },
  variance(out, inputs) {
    for (let i = 0; i < out.length; i++) {
      let sum = 0;
      for (const input of inputs) sum += input[i];
      const mean = sum / inputs.length;
      let squares = 0;
      for (const input of inputs) squares += (input[i] - mean) * (input[i] - mean);
      out[i] = squares / inputs.length;
    }
  },
};
