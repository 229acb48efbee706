import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readArguments } from './arguments.ts';

/*
 * Prints what an installed package runs on as a CycloneDX bill of materials: `npm run -s sbom`.
 *
 * `npm sbom --omit dev` leaves out packages that tools use as well, `ws` among them (npm 11.19). So npm lists everything,
 * and what package-lock.json calls for development is taken away here.
 */

interface Bill {
  components: { 'bom-ref': string; name: string; version: string }[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

interface Locked {
  version?: string;
  dev?: boolean;
  devOptional?: boolean;
  link?: boolean;
}

readArguments(
  () => parseArgs({}),
  'npm run -s sbom\n\nPrints a CycloneDX bill of materials. It takes no options.\n',
);
const root = fileURLToPath(new URL('..', import.meta.url));
const options = ['--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only'];
const listed = execFileSync('npm', ['sbom', ...options], { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 });
const bill = JSON.parse(listed) as Bill;
const { packages } = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8')) as {
  packages: Record<string, Locked>;
};
const shipped = new Set(
  Object.entries(packages)
    .filter(
      ([place, { dev, devOptional, link }]) =>
        place.startsWith('node_modules/') && !dev && !devOptional && !link,
    )
    .map(([place, { version }]) => `${place.replace(/^.*node_modules\//, '')}@${version}`),
);
const gone = new Set(
  bill.components
    .filter(({ name, version }) => !shipped.has(`${name}@${version}`))
    .map((component) => component['bom-ref']),
);
const components = bill.components.filter((component) => !gone.has(component['bom-ref']));
const dependencies = bill.dependencies
  .filter(({ ref }) => !gone.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => !gone.has(other)) }));
process.stdout.write(`${JSON.stringify({ ...bill, components, dependencies }, null, 2)}\n`);
