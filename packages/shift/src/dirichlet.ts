import { dirichlet as draw, type Random } from "@loomweight/tensor";

/** A point of the simplex with `count` parts, Dirichlet with all concentrations `delta` > 0: small ones give few large parts. */
export function dirichlet(count: number, delta: number, random: Random): number[] {
  return draw(new Array<number>(count).fill(delta), random);
}
