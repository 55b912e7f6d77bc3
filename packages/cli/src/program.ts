import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import type { CommandContext } from "./context.ts";
import { parseCount, parseList, parseNumbers, parsePositive, parseShare, parseSize } from "./parse.ts";
import { addQuantizeOptions, type QuantizeSettingFlags } from "./quantize-options.ts";
import { usageError } from "./usage-error.ts";

/** Options that every command takes. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly debug?: boolean;
}

/** Runs a command's work with its context; given by `main`. */
export type Runner = (work: (context: CommandContext) => Promise<void>) => Promise<void>;

const exportTargets = ["transformers.js", "genai"] as const;
const slotLayouts = ["single", "rows"] as const;
/** Those of `combineAdapters`, which is loaded when the command runs; a test holds them equal. */
export const combinations = [
  "linear",
  "cat",
  "svd",
  "ties",
  "ties_svd",
  "dare_linear",
  "dare_linear_svd",
  "dare_ties",
  "dare_ties_svd",
  "magnitude_prune",
  "magnitude_prune_svd",
  "lego",
] as const;
const workersHelp = "threads that code and write weights (default: one per core, two at most)";
const adapterLayouts = ["peft", "kohya", "diffusers"] as const;
const foldDTypes = ["float32", "float16", "bfloat16"] as const;

/** The command line: names, arguments and options of every command. Its work is loaded when it is called. */
export function createProgram(run: Runner): Command {
  const program = new Command("loomweight")
    .description("Merge, fold, quantize, export and run the weights of neural networks. No Python.")
    .version(toolVersion(), "-V, --version", "print the version")
    .option("--json", "print the result as JSON")
    .option("-q, --quiet", "print results and errors only")
    .option("--debug", "print the stack of an error")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .showSuggestionAfterError()
    .showHelpAfterError("Type loomweight --help for what there is.")
    .configureHelp({ showGlobalOptions: true, styleTitle: (title) => title })
    .addHelpText(
      "after",
      [
        "",
        "The main job:",
        "  loomweight merge recipe.yml merged        # mergekit's recipes",
        "  loomweight fold base adapter --out folded # PEFT adapters",
        "  loomweight export merged web --dtype q4   # a folder that transformers.js loads",
        "  loomweight quantize in.onnx out.onnx --dtype q4",
        '  loomweight run web "Once upon a time"',
        "",
        "Exit codes: 0 done, 1 the input is at fault, 2 usage, 130 interrupted.",
      ].join("\n"),
    );

  program
    .command("inspect")
    .description("say what a checkpoint, model folder, adapter, export or ONNX file holds")
    .argument("<path>", "a .safetensors, .onnx or .onnx_adapter file, an index, or a folder")
    .option("--tensors", "list every tensor, however many there are")
    .action((path: string, options: { tensors?: boolean }) =>
      run(async (context) => (await import("./commands/inspect.ts")).inspect(context, options, path)),
    );

  program
    .command("diff")
    .description("compare two checkpoints tensor by tensor")
    .argument("<a>", "a checkpoint or model folder")
    .argument("<b>", "another one")
    .option("--all", "list equal tensors too")
    .action((a: string, b: string, options: { all?: boolean }) =>
      run(async (context) => (await import("./commands/diff.ts")).diff(context, options, a, b)),
    );

  program
    .command("merge")
    .description("merge models by a recipe (mergekit's YAML)")
    .argument("<recipe>", "the recipe file")
    .argument("[out]", "the folder to write; must not exist")
    .option("--dry-run", "say what would be done, from headers alone; nothing is written")
    .option("--document <name>", "of a recipe of several documents: the one to write")
    .option("--force", "replace the output folder if it exists")
    .option("--allow-non-finite", "write NaN and infinities instead of stopping at them")
    .option("--resume", "continue what an interrupted run of the same merge left")
    .option("--workers <count>", "threads to merge in (default: one per core, two at most)", parseCount)
    .option("--memory <size>", "most weights in flight, such as 64MB (default: 256MB)", parseSize)
    .addOption(seedOption("seed of the random methods"))
    .option("--shard-size <size>", "largest weights file, such as 5GB", parseSize)
    .action((recipe: string, out: string | undefined, options: MergeFlags) =>
      run(async (context) => {
        if (options.dryRun) {
          return (await import("./commands/merge-dry-run.ts")).mergeDryRun(context, options, recipe, out);
        }
        if (out === undefined) throw usageError("missing required argument 'out'");
        return (await import("./commands/merge.ts")).merge(context, options, recipe, out);
      }),
    );

  program
    .command("explain")
    .description("say how one tensor of a merge comes about, with the numbers that apply to it")
    .argument("<recipe>", "the recipe file")
    .argument("<tensor>", "name of a tensor of the output")
    .option("--document <name>", "of a recipe of several documents: the one to explain")
    .action((recipe: string, tensor: string, options: ExplainFlags) =>
      run(async (context) => (await import("./commands/explain.ts")).explain(context, options, recipe, tensor)),
    );

  program
    .command("search")
    .description("find the numbers of a recipe that a score likes best, and merge with them")
    .argument("<recipe>", "a recipe with ranges, such as weight: { search: [0, 1] }")
    .argument("<out>", "the folder to write; must not exist")
    .requiredOption("--score <script>", "module that exports score(candidate): a number, lower is better")
    .option("--generations <count>", "generations in all, those of a continued search among them", parseCount, 20)
    .option("--population <count>", "candidates a generation (default: by how many numbers there are)", parseCount)
    .addOption(seedOption("seed of the candidates"))
    .option("--state <file>", "where the search is kept and continued from (default: <out>.search.json)")
    .addOption(seedOption("seed of random merge methods", "--merge-seed <number>"))
    .option("--force", "replace the output folder if it exists")
    .option("--allow-non-finite", "merge NaN and infinities instead of stopping at them")
    .action((recipe: string, out: string, options: SearchFlags) =>
      run(async (context) => (await import("./commands/search.ts")).search(context, options, recipe, out)),
    );

  program
    .command("fold")
    .description("fold adapters into the weights of their base model, or of an ONNX file of it, float or quantized")
    .argument("<base>", "the base model's folder, or an .onnx file")
    .argument("<adapter...>", "PEFT folders, or .safetensors files of kohya or diffusers; folded in this order")
    .requiredOption("-o, --out <path>", "the folder (of an .onnx file: the .onnx file) to write; must not exist")
    .option("--force", "replace the output if it exists")
    .addOption(new Option("--dtype <dtype>", "dtype of the folded weights (default: the base's)").choices(foldDTypes))
    .option("--allow-non-finite", "write NaN and infinities instead of stopping at them")
    .option("--resume", "continue what an interrupted run of the same command left")
    .option("--keep-base", "keep the base's bytes of what changes in a file beside the weights, for unfold")
    .option(
      "--minimal-kept <share>",
      "of an .onnx file: least share of the change that its codes must keep (0.5)",
      parseShare,
    )
    .option("--allow-loss", "of an .onnx file: write it however little of the adapter its codes keep")
    .option("--shard-size <size>", "largest weights file, such as 5GB", parseSize)
    .action((base: string, adapters: string[], options: FoldFlags) =>
      run(async (context) => (await import("./commands/fold.ts")).fold(context, options, base, adapters)),
    );

  program
    .command("unfold")
    .description("take PEFT adapters out of the weights they were folded into")
    .argument("<folded>", "the folded model's folder")
    .argument("<adapter...>", "the adapters that were folded, in that order")
    .requiredOption("-o, --out <folder>", "the folder to write; must not exist")
    .option("--base <model>", "the model they were folded into: its exact bytes come back (default: what fold kept)")
    .option("--allow-rounding", "with a base: accept differences of rounding, as when another tool folded them")
    .option("--force", "replace the output folder if it exists")
    .option("--allow-non-finite", "write NaN and infinities instead of stopping at them")
    .option("--resume", "continue what an interrupted run of the same command left")
    .option("--shard-size <size>", "largest weights file, such as 5GB", parseSize)
    .action((folded: string, adapters: string[], options: UnfoldFlags) =>
      run(async (context) => (await import("./commands/unfold.ts")).unfold(context, options, folded, adapters)),
    );

  program
    .command("convert")
    .description("convert an adapter between PEFT's folders and the files of kohya and diffusers")
    .argument("<adapter>", "a PEFT folder, or a .safetensors file of kohya or diffusers")
    .argument("<out>", "the folder to write; must not exist")
    .addOption(new Option("--to <layout>", "what to write").choices(adapterLayouts).default("peft"))
    .option("--base <model>", "the model it adapts: kohya's files need it, their names are found in it")
    .option("--component <name>", "which part of a pipeline: unet, text_encoder, lora_unet, lora_te1, …")
    .option("--force", "replace the output folder if it exists")
    .action((adapter: string, out: string, options: ConvertFlags) =>
      run(async (context) => (await import("./commands/convert.ts")).convert(context, options, adapter, out)),
    );

  program
    .command("train")
    .description("train an adapter as a configuration says; writes a folder that PEFT loads")
    .argument("<config>", "a .yml file: model, adapter, data, training, out")
    .option("--resume", "go on where the checkpoint in the output folder stands")
    .option("--force", "replace the adapter in the output folder")
    .option("--threads <count>", "threads of onnxruntime (default: as it likes)", parseCount)
    .action((config: string, options: TrainFlags) =>
      run(async (context) => (await import("./commands/train.ts")).trainCommand(context, options, config)),
    );

  program
    .command("combine")
    .description("combine LoRA adapters of one base into one, or give one another rank")
    .argument("<adapter...>", "adapter folders")
    .requiredOption("-o, --out <folder>", "the folder to write; must not exist")
    .option("--weights <list>", "one number for each adapter (default: 1 each)", parseNumbers)
    .addOption(
      new Option("--combination <how>", "cat (the exact sum), or one of the others")
        .choices(combinations)
        .default("cat"),
    )
    .option("--rank <count>", "…_svd, svd, lego: rank of the result (default: the adapters' largest)", parseCount)
    .option("--energy <share>", "…_svd, svd: the smallest rank that keeps this share", parseShare)
    .option("--density <share>", "ties, dare, magnitude_prune: share of entries that stay", parseShare)
    .addOption(new Option("--majority-sign <how>", "ties: sign by sum or by number").choices(["total", "frequency"]))
    .addOption(seedOption("seed of dare's masks and lego's clusters"))
    .option("--force", "replace the output folder if it exists")
    .action((adapters: string[], options: CombineFlags) =>
      run(async (context) => (await import("./commands/combine.ts")).combine(context, options, adapters)),
    );

  program
    .command("extract-lora")
    .description("turn the difference of two models into a LoRA adapter")
    .argument("<base>", "the base model's folder")
    .argument("<model>", "the fine-tuned model, or base+adapter: any adapter as a LoRA")
    .argument("<out>", "the folder to write; must not exist")
    .option("--rank <count>", "rank of each layer at most", parseCount, 16)
    .option("--energy <share>", "take the smallest rank that keeps this share of each layer's update", parseShare)
    .addOption(new Option("--dtype <dtype>", "dtype of the factors").choices(foldDTypes).default("float32"))
    .option("--force", "replace the output folder if it exists")
    .action((base: string, model: string, out: string, options: ExtractLoraFlags) =>
      run(async (context) => (await import("./commands/extract-lora.ts")).extract(context, options, base, model, out)),
    );

  const exportProgram = program
    .command("export")
    .description("export a model as ONNX, as transformers.js and onnxruntime load it")
    .argument("<model>", "the model's folder")
    .argument("[out]", "the folder to write; must not exist; none with --in-place")
    .option("--dtype <list>", "fp32, fp16, q8, q4, q4f16, … separated by commas", parseList, ["fp32"])
    .option("--task <task>", "what the model is to do (default: from its config.json)")
    .option("--device <list>", "where it may run: cpu, wasm, webgpu, cuda (default: all but cuda)", parseList)
    .addOption(
      new Option("--target <runtime>", "transformers.js, or genai: a folder that onnxruntime-genai loads").choices(
        exportTargets,
      ),
    )
    .option(
      "--num-logits-to-keep",
      "an input of that name: transformers.js then computes the last position's logits only (others must feed it)",
    )
    .addOption(
      new Option(
        "--batch-size <count>",
        "1: a decoder that takes one row at a time, which CPUs compute faster (default: any number)",
      ).choices(["1"]),
    )
    .option("--no-packed", "a product each for a decoder's queries, keys and values, in place of one for all")
    .option("--adapter-slots", "inputs for LoRA and DoRA adapters that are swapped while it runs")
    .addOption(
      new Option(
        "--adapter-layout <layout>",
        "adapter slots for one adapter at a time (single, the default) or one for each row of a batch (rows)",
      ).choices(slotLayouts),
    );
  addQuantizeOptions(exportProgram)
    .option(
      "--in-place",
      "write the graph alone, beside the safetensors files, which it uses as they are (not for browsers)",
    )
    .option("--workers <count>", workersHelp, parseCount)
    .option("--no-verify", "do not load and run the files after writing")
    .option("--force", "replace the output folder if it exists")
    .action((model: string, out: string | undefined, options: ExportFlags) =>
      run(async (context) => (await import("./commands/export.ts")).exportCommand(context, options, model, out)),
    );

  program
    .command("adapter")
    .description("write a PEFT adapter as an .onnx_adapter file for an export with adapter slots")
    .argument("<export>", "an exported folder with adapter_slots.json")
    .argument("<adapter>", "the PEFT adapter's folder")
    .argument("<out>", "the .onnx_adapter file to write")
    .option("--base <model>", "the model that the export was made from: DoRA adapters need its weights")
    .option("--graph <name>", "which of several graphs: encoder_model, decoder_model_merged, …")
    .option("--force", "replace the output file if it exists")
    .action((exported: string, folder: string, out: string, options: AdapterFlags) =>
      run(async (context) => (await import("./commands/adapter.ts")).adapter(context, options, exported, folder, out)),
    );

  program
    .command("reweight")
    .description("put the weights of a model into an ONNX export that exists, whoever made it")
    .argument("<export>", "an exported folder, or one .onnx file")
    .argument("<model>", "folder of the model whose weights go in")
    .argument("<out>", "the folder to write; must not exist")
    .option("--base <model>", "the model that was exported: weights are then found by their values")
    .option("--list", "list every weight and where it comes from")
    .option("--no-verify", "do not load the files after writing")
    .option("--force", "replace the output folder if it exists")
    .action((path: string, model: string, out: string, options: ReweightFlags) =>
      run(async (context) => (await import("./commands/reweight.ts")).reweight(context, options, path, model, out)),
    );

  program
    .command("verify")
    .description("check an export: structure, a run of each file, difference from fp32, perplexity")
    .argument("<export>", "an exported folder, whatever tool wrote it")
    .option("--against <model>", "the model's folder to compare with (default: the export's own fp32 files)")
    .option("--task <task>", "what that model is to do (default: what gives the export's outputs)")
    .option("--text <file>", "a text to score decoders by: their perplexity on it")
    .action((path: string, options: VerifyFlags) =>
      run(async (context) => (await import("./commands/verify.ts")).verifyCommand(context, options, path)),
    );

  const quantizeCommand = program
    .command("quantize")
    .description("quantize any ONNX file, external data included")
    .argument("<in>", "the float .onnx file")
    .argument("<out>", "the .onnx file to write")
    .requiredOption("--dtype <dtype>", "q4, q4f16, bnb4, q8, int8, uint8, fp16, bf16 or fp32 (a copy)");
  addQuantizeOptions(quantizeCommand)
    .option("--workers <count>", workersHelp, parseCount)
    .option("--force", "replace the output if it exists")
    .action((input: string, output: string, options: QuantizeFlags) =>
      run(async (context) => (await import("./commands/quantize.ts")).quantize(context, options, input, output)),
    );

  program
    .command("run")
    .description("let a text model continue a prompt")
    .argument("<model>", "an exported folder, or a model's folder")
    .argument("<prompt>", "what to continue")
    .option("--dtype <dtype>", "which file of an export to run: fp32, q8, q4, …")
    .option("--adapter <path>", "a PEFT folder or .onnx_adapter file for the slots of the export")
    .option("--adapter-base <model>", "the model that the export was made from: DoRA adapters need its weights")
    .option("-n, --max-new-tokens <count>", "most tokens to write", parseCount, 100)
    .addOption(seedOption("draw tokens at random from this seed (default: always the likeliest)"))
    .option("--temperature <number>", "how freely to draw, above 0", parsePositive)
    .option("--top-k <count>", "draw among this many likeliest tokens", parseCount)
    .option("--top-p <share>", "draw among the likeliest tokens that make up this share", parseShare)
    .option("--threads <count>", "threads to compute with", parseCount)
    .action((model: string, prompt: string, options: RunFlags) =>
      run(async (context) => (await import("./commands/run.ts")).runModel(context, options, model, prompt)),
    );

  return program;
}

export interface MergeFlags {
  readonly dryRun?: boolean;
  /** Name of the document to write. */
  readonly document?: string;
  readonly force?: boolean;
  readonly allowNonFinite?: boolean;
  readonly resume?: boolean;
  readonly workers?: number;
  readonly memory?: number;
  readonly seed?: number;
  readonly shardSize?: number;
}

export interface TrainFlags {
  readonly resume?: boolean;
  readonly force?: boolean;
  readonly threads?: number;
}

export interface SearchFlags {
  readonly score: string;
  readonly generations: number;
  readonly population?: number;
  readonly seed?: number;
  readonly state?: string;
  readonly mergeSeed?: number;
  readonly force?: boolean;
  readonly allowNonFinite?: boolean;
}

export interface ExplainFlags {
  readonly document?: string;
}

export interface FoldFlags {
  readonly out: string;
  readonly force?: boolean;
  readonly dtype?: (typeof foldDTypes)[number];
  readonly allowNonFinite?: boolean;
  readonly resume?: boolean;
  readonly keepBase?: boolean;
  readonly minimalKept?: number;
  readonly allowLoss?: boolean;
  readonly shardSize?: number;
}

export interface ConvertFlags {
  readonly to: (typeof adapterLayouts)[number];
  readonly base?: string;
  readonly component?: string;
  readonly force?: boolean;
}

export interface UnfoldFlags {
  readonly out: string;
  readonly base?: string;
  readonly allowRounding?: boolean;
  readonly force?: boolean;
  readonly allowNonFinite?: boolean;
  readonly resume?: boolean;
  readonly shardSize?: number;
}

export interface CombineFlags {
  readonly out: string;
  readonly weights?: readonly number[];
  readonly combination: (typeof combinations)[number];
  readonly rank?: number;
  readonly energy?: number;
  readonly density?: number;
  readonly majoritySign?: "total" | "frequency";
  readonly seed?: number;
  readonly force?: boolean;
}

export interface ExtractLoraFlags {
  readonly rank: number;
  readonly energy?: number;
  readonly dtype: (typeof foldDTypes)[number];
  readonly force?: boolean;
}

export interface ExportFlags extends QuantizeSettingFlags {
  readonly inPlace?: boolean;
  readonly dtype: readonly string[];
  readonly target?: (typeof exportTargets)[number];
  readonly adapterSlots?: boolean;
  /** Asks for slots, too. */
  readonly adapterLayout?: (typeof slotLayouts)[number];
  readonly task?: string;
  readonly device?: readonly string[];
  readonly numLogitsToKeep?: boolean;
  readonly batchSize?: "1";
  readonly packed: boolean;
  readonly workers?: number;
  readonly verify: boolean;
  readonly force?: boolean;
}

export interface AdapterFlags {
  /** Folder of the model that was exported. */
  readonly base?: string;
  readonly graph?: string;
  readonly force?: boolean;
}

export interface ReweightFlags {
  /** Folder of the model that was exported. */
  readonly base?: string;
  readonly list?: boolean;
  readonly verify: boolean;
  readonly force?: boolean;
}

export interface VerifyFlags {
  readonly against?: string;
  readonly task?: string;
  /** Path of a text file. */
  readonly text?: string;
}

export interface QuantizeFlags extends QuantizeSettingFlags {
  readonly dtype: string;
  readonly workers?: number;
  readonly force?: boolean;
}

export interface RunFlags {
  readonly dtype?: string;
  readonly adapter?: string;
  readonly adapterBase?: string;
  readonly maxNewTokens: number;
  readonly seed?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly threads?: number;
}

/** The version of the installed package. */
export function toolVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return manifest.version;
}

function seedOption(description: string, flags = "--seed <number>"): Option {
  return new Option(flags, description).argParser((text: string) => {
    if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(Number(text))) {
      throw new InvalidArgumentError("A whole number from 0 to 9007199254740991 is needed.");
    }
    return Number(text);
  });
}
