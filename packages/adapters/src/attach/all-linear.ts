import { type ImportedModel, indexGraph } from "@loomweight/graph";
import type { LayerSite } from "./layers.ts";

/** Steps between a head and the output: caps, casts and shapes, no norm. */
const finishing = new Set("Add Cast Div Identity Mul Reshape Softmax Squeeze Sub Tanh Transpose".split(" "));

/** Paths of the linear layers, but those whose product is an output of the model: what PEFT calls "all-linear". */
export function linearTargets(imported: ImportedModel, sites: readonly LayerSite[]): readonly string[] {
  const heads = headPaths(imported, sites);
  const linear = sites.filter(({ layer }) => layer.kind === "linear" || layer.kind === "transposedLinear");
  return [...new Set(linear.map(({ path }) => path))].filter((path) => !heads.has(path));
}

function headPaths({ model: { graph } }: ImportedModel, sites: readonly LayerSite[]): Set<string> {
  const index = indexGraph(graph);
  const byProduct = new Map(sites.map((site) => [site.product, site]));
  const heads = new Set<string>();
  for (const { name } of graph.outputs) {
    if (/^(present|last_hidden_state|hidden_states|encoder_)/.test(name)) continue;
    let at: string | undefined = name;
    for (let steps = 0; at !== undefined && steps < 16; steps++) {
      const site = byProduct.get(at);
      if (site !== undefined) {
        heads.add(site.path);
        break;
      }
      const producer = index.producer(at);
      if (producer === undefined || !finishing.has(producer.op)) break;
      at = producer.inputs.find((input) => input !== "" && !graph.initializers.has(input));
    }
  }
  return heads;
}
