import { execFileSync } from 'node:child_process';
import t from 'tap';
import { readDocument, ROOT, tableUnder } from '../../fixtures/documents.ts';

interface Locked {
  version: string;
  license?: string;
  dev?: boolean;
  devOptional?: boolean;
  link?: boolean;
  integrity?: string;
  hasInstallScript?: boolean;
}

const { packages } = JSON.parse(readDocument('package-lock.json')) as { packages: Record<string, Locked> };

/** What an installed package runs on, by its place in node_modules. */
const production = Object.entries(packages)
  .filter(([place, { dev, devOptional, link }]) => place !== '' && !dev && !devOptional && !link)
  .filter(([place]) => place.startsWith('node_modules/'))
  .map(([place, locked]) => ({ name: place.slice('node_modules/'.length), ...locked }));

const page = readDocument('docs/dependencies.md');

t.test('docs/dependencies.md lists every package that comes along', async (t) => {
  t.ok(production.length > 20);
  t.same(
    tableUnder(page, '## All that comes with them'),
    production.map(({ name, version, license }) => [name, version, license]),
  );
});

t.test(
  'each of them may be used and passed on, is what was locked, and runs nothing when installed',
  async (t) => {
    const prose = page.slice(page.indexOf('only the\nlicences'));
    const [sentence = ''] = prose.split('.\n');
    const allowed = [...sentence.matchAll(/\b(MIT|ISC|0BSD|[A-Z][A-Za-z]+-[\w.-]*\w)/g)].map(
      ([word]) => word,
    );
    t.ok(allowed.includes('MIT') && allowed.includes('Apache-2.0') && !allowed.includes('GPL-3.0'));
    for (const { name, license = '', integrity = '', hasInstallScript } of production) {
      t.ok(allowed.includes(license), `${name}: ${license}`);
      t.match(integrity, /^sha512-/, name);
      t.notOk(hasInstallScript, name);
    }
  },
);

t.test('packages with known holes are never older than what mended them', async (t) => {
  const rows = tableUnder(page, '## Never older than');
  t.same(
    rows.map(([name]) => name),
    ['undici', 'ws', 'fast-xml-parser'],
  );
  const numbers = (version: string): number[] => version.split('.').map(Number);
  for (const [name = '', floor = ''] of rows) {
    const { version = '' } = production.find((each) => each.name === name) ?? {};
    const [have, least] = [numbers(version), numbers(floor)];
    const differs = least.findIndex((number, i) => have[i] !== number);
    t.ok(
      differs === -1 || (have[differs] ?? 0) > (least[differs] ?? 0),
      `${name} ${version} is at least ${floor}`,
    );
  }
});

t.test('npm run sbom prints a bill of materials of just these', async (t) => {
  const bill = JSON.parse(execFileSync('npm', ['run', '-s', 'sbom'], { cwd: ROOT, encoding: 'utf8' })) as {
    bomFormat: string;
    specVersion: string;
    metadata: { component: { version: string } };
    dependencies: { ref: string; dependsOn: string[] }[];
    components: { name: string; version: string; purl: string; hashes?: object[]; licenses: object[] }[];
  };
  const { version } = JSON.parse(readDocument('package.json')) as { version: string };
  t.match(bill, { bomFormat: 'CycloneDX', specVersion: /^1\.\d$/, metadata: { component: { version } } });
  const plain = (name: string): string => name.replace(/^.*node_modules\//, '');
  t.same(
    bill.components.map((each) => `${each.name} ${each.version}`).toSorted(),
    production.map((each) => `${plain(each.name)} ${each.version}`).toSorted(),
  );
  const refs = new Set(bill.dependencies.map(({ ref }) => ref));
  t.ok(
    bill.dependencies.every(({ dependsOn }) => dependsOn.every((ref) => refs.has(ref))),
    'nothing hangs loose',
  );
  for (const { name, purl, hashes, licenses } of bill.components) {
    t.match(purl, /^pkg:npm\//, name);
    t.ok((hashes?.length ?? 0) > 0 && licenses.length > 0, name);
  }
});
