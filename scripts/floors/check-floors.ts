import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { importsOf, isBuiltin, packageOf, reachableFiles, sourceFiles } from "./imports.ts";
import type { Floor } from "./table.ts";

interface Manifest {
  readonly name: string;
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

interface Workspace {
  readonly root: string;
  readonly floors: readonly Floor[];
  /** Published name → its row. */
  readonly byName: ReadonlyMap<string, Floor>;
  readonly rootManifest: Manifest;
  /** Published name → package.json. */
  readonly manifests: ReadonlyMap<string, Manifest>;
}

/**
 * Faults in how the packages under `root`/packages stand on one another, one line each; empty when all is well:
 * an import that does not go strictly downwards, a package without a floor, an import that package.json does not
 * declare, and a `node:` module that loads with an entry which must also run in browsers (all but `./node`; the
 * command line runs under Node alone).
 */
export function checkFloors(root: string, floors: readonly Floor[]): string[] {
  const read = (path: string) => JSON.parse(readFileSync(path, "utf8")) as Manifest;
  const manifests = new Map(
    floors
      .filter(({ folder }) => existsSync(join(root, "packages", folder, "package.json")))
      .map((floor) => [floor.folder, read(join(root, "packages", floor.folder, "package.json"))]),
  );
  const workspace: Workspace = {
    root,
    floors,
    byName: new Map(floors.map((floor) => [manifests.get(floor.folder)?.name ?? floor.folder, floor])),
    rootManifest: read(join(root, "package.json")),
    manifests: new Map([...manifests.values()].map((manifest) => [manifest.name, manifest])),
  };
  const faults: string[] = [];
  for (const entry of readdirSync(join(root, "packages"), { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const floor = floors.find(({ folder }) => folder === entry.name);
    const manifest = manifests.get(entry.name);
    if (manifest === undefined || floor === undefined) {
      faults.push(`packages/${entry.name}: has no row in scripts/floors/table.ts`);
      continue;
    }
    faults.push(...declarationFaults(workspace, floor, manifest), ...importFaults(workspace, floor, manifest));
    if (floor.folder !== "cli") faults.push(...browserFaults(workspace, floor, manifest));
  }
  return faults;
}

/** Dependencies in package.json that point sideways or upwards. */
function declarationFaults({ byName }: Workspace, floor: Floor, manifest: Manifest): string[] {
  return Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
    .filter((name) => (byName.get(name)?.floor ?? -1) >= floor.floor)
    .map((name) => `packages/${floor.folder}/package.json: depends on ${name}, which is not on a lower floor`);
}

function importFaults(workspace: Workspace, floor: Floor, manifest: Manifest): string[] {
  const folder = join(workspace.root, "packages", floor.folder);
  const published = { ...manifest.dependencies, ...manifest.peerDependencies };
  const forTests = {
    ...published,
    ...manifest.devDependencies,
    ...workspace.rootManifest.dependencies,
    ...workspace.rootManifest.devDependencies,
  };
  const faults: string[] = [];
  for (const file of sourceFiles(folder)) {
    const place = relative(workspace.root, file);
    const shipped = place.includes(`${join(floor.folder, "src")}`) && !basename(file).includes(".test.");
    for (const specifier of importsOf(file)) {
      const name = packageOf(specifier);
      if (specifier.startsWith(".")) {
        if (shipped && relative(folder, join(dirname(file), specifier)).startsWith("..")) {
          faults.push(`${place}: imports ${specifier}, which lies outside its package`);
        }
        continue;
      }
      if (name === undefined || name === manifest.name) continue;
      if (!isExported(workspace.manifests.get(name), specifier.slice(name.length))) {
        faults.push(`${place}: imports ${specifier}, which ${name} does not export`);
      }
      const target = workspace.byName.get(name);
      if (target !== undefined && target.floor >= floor.floor) {
        faults.push(
          `${place}: imports ${name} (floor ${target.floor}) from floor ${floor.floor}; imports go strictly downwards`,
        );
      } else if (!Object.hasOwn(shipped ? published : forTests, name)) {
        faults.push(`${place}: imports ${name}, which packages/${floor.folder}/package.json does not declare`);
      }
    }
  }
  return faults;
}

/** Whether a package of the workspace offers `subpath` ("" or "/node"); packages from elsewhere are not looked into. */
function isExported(manifest: Manifest | undefined, subpath: string): boolean {
  if (manifest === undefined) return true;
  return Object.keys(manifest.exports ?? {}).some((offered) => {
    const [before, after] = offered.split("*");
    const wanted = `.${subpath}`;
    return after === undefined ? offered === wanted : wanted.startsWith(before) && wanted.endsWith(after);
  });
}

/** `node:` modules and `/node` entries of other packages that load with an entry meant for browsers too. */
function browserFaults(workspace: Workspace, floor: Floor, manifest: Manifest): string[] {
  const folder = join(workspace.root, "packages", floor.folder);
  const faults = new Set<string>();
  for (const [subpath, target] of Object.entries(manifest.exports ?? {})) {
    const source = typeof target === "string" ? undefined : target["@loomweight/source"];
    if (source === undefined || subpath === "./node" || subpath.startsWith("./node/")) continue;
    const entries = source.includes("*")
      ? sourceFiles(join(folder, dirname(source))).filter((file) => !file.includes(".test."))
      : [join(folder, source)];
    for (const entry of entries) {
      for (const file of reachableFiles(entry)) {
        for (const specifier of importsOf(file)) {
          if (!isBuiltin(specifier) && !/^@loomweight\/[^/]+\/node(\/|$)/.test(specifier)) continue;
          faults.add(
            `${relative(workspace.root, file)}: imports ${specifier}, but "${subpath}" must also run in browsers; move it under src/node`,
          );
        }
      }
    }
  }
  return [...faults];
}
