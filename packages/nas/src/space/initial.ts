import { createRandom, full, type Tensor, uniform, zeros } from "@loomweight/tensor";
import { largestShape, type Space } from "./space.ts";

/**
 * First weights of the largest network, as PyTorch draws them: uniform in ±1/√fanIn for weights of two axes and more
 * and for the bias beside one, 1 and 0 for a normalization's weight and bias. A draw depends on seed and name alone.
 */
export function initialWeights(space: Space, seed = 0): Record<string, Tensor> {
  const random = createRandom(seed, "initial weights");
  return Object.fromEntries(
    Object.entries(space.parameters).map(([name, spec]) => {
      const shape = largestShape(spec);
      const layer = name.slice(0, name.lastIndexOf(".") + 1);
      const beside = space.parameters[`${layer}weight`];
      const fan = (shape.length > 1 ? shape : beside === undefined ? [] : largestShape(beside)).slice(1);
      if (fan.length === 0) return [name, name === `${layer}weight` ? full(shape, 1) : zeros(shape)];
      const bound = 1 / Math.sqrt(fan.reduce((product, size) => product * size, 1));
      return [name, uniform(shape, random.child(name), { low: -bound, high: bound })];
    }),
  );
}
