import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  crossings,
  cycles,
  environmentReaders,
  forbidden,
  strayLibraries,
} from '../../fixtures/project/houses.ts';
import { readModule, readModules, type Module } from '../../fixtures/project/imports.ts';

/** What each house may import besides itself. */
const houses = {
  'proxy/': ['shared/'],
  'relay-client/': ['shared/'],
  'shared/': [],
  // The simulator and the sample services judge the product, so they must not think with its code.
  'tests/phones/': [],
  'tests/fixtures/services/': ['tests/phones/', 'relay-client/index.ts'],
};

/** Where each library may be imported. Adding one here is a decision: one library, one door. */
const doors = {
  '@peculiar/x509': ['shared/key-pair.ts'],
  'reflect-metadata': ['shared/key-pair.ts'],
  commander: ['proxy/', 'relay-client/', 'tests/phones/', 'tests/fixtures/services/'],
  'fast-xml-parser': ['shared/wpi/'],
  'csv-parse': ['relay-client/cli/values.ts'],
  'https-proxy-agent': ['relay-client/links/dial.ts'],
  'lru-cache': ['proxy/', 'relay-client/', 'shared/'],
  pg: ['relay-client/outbox/postgres-client.ts'],
  pino: ['shared/log.ts'],
  'prom-client': ['proxy/', 'relay-client/', 'shared/'],
  undici: ['relay-client/'],
  ws: ['shared/lane-ws.ts', 'proxy/relays/relay-door.ts', 'relay-client/links/dial.ts'],
  // join edits a config file in place and keeps its comments.
  yaml: [
    'shared/config-text.ts',
    'shared/config-file.ts',
    'relay-client/links/join.ts',
    'tests/phones/scenario/load.ts',
  ],
  zod: ['proxy/', 'relay-client/', 'shared/', 'tests/phones/scenario/'],
  'node:sqlite': ['relay-client/outbox/'],
};

/** Stores know no HTTP and no network at all. */
const stores = ['relay-client/outbox/', 'proxy/mailbox', 'proxy/marks', 'proxy/unknown-devices'];
const network = ['node:http', 'node:https', 'node:http2', 'node:net', 'node:tls', 'undici', 'ws'];

/** Doors know no stores: what they need is handed to them, so they may name its type, not load it. */
const doorFiles = [
  'proxy/poll/',
  'proxy/sessions/',
  'proxy/relays/relay-door',
  'proxy/ops',
  'relay-client/api/',
  'relay-client/services/',
];
const storeFiles = ['relay-client/outbox/', 'proxy/mailbox'];

/** Configuration comes from the file; only the programs themselves may look around. */
const mayReadEnvironment = [
  'proxy/main.ts',
  'relay-client/main.ts',
  'relay-client/cli/',
  'tests/phones/main.ts',
];

const root = fileURLToPath(new URL('../../..', import.meta.url));
/** What runs in browsers. It is bundled by itself, and takes from the relay nothing but types. */
const pages = 'relay-client/dashboard/';
const pageLibraries = ['preact', 'uplot'];

const all = readModules(root, Object.keys(houses));
const modules = all.filter(({ file }) => !file.startsWith(pages));
const product = modules.filter(({ file }) => !file.startsWith('tests/'));

t.test('houses import one way only', async (t) => {
  t.same(crossings(modules, houses), []);
});

t.test('no file imports itself by way of others', async (t) => {
  t.same(cycles(modules), []);
});

t.test('each library is imported behind its own door', async (t) => {
  t.same(strayLibraries(modules, doors), []);
});

t.test('the table of libraries and package.json name the same ones', async (t) => {
  const { dependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    dependencies: object;
  };
  const listed = Object.keys(doors).filter((name) => !name.startsWith('node:'));
  t.same(listed.sort(), Object.keys(dependencies).sort());
});

t.test(
  "the dashboard's pages take libraries of their own, and from the relay only what its API looks like",
  async (t) => {
    const taken = all
      .filter(({ file }) => file.startsWith(pages))
      .flatMap(({ file, imports }) => imports.map((each) => ({ file, ...each })));
    t.ok(taken.length > 30);
    const stray = taken.filter(({ target, kind, typeOnly }) =>
      kind === 'package'
        ? !pageLibraries.includes(target)
        : !target.startsWith(pages) && !(typeOnly && target.startsWith('relay-client/api/')),
    );
    t.same(stray, []);
  },
);

t.test('stores know no network', async (t) => {
  t.same(forbidden(modules, { in: stores, not: network }), []);
});

t.test('doors know no stores', async (t) => {
  t.same(forbidden(modules, { in: doorFiles, not: storeFiles, values: true }), []);
});

t.test('only the programs read the environment', async (t) => {
  t.same(environmentReaders(product, mayReadEnvironment), []);
});

t.test('the rules above see a breach of each of them', async (t) => {
  const read = (files: Record<string, string>): Module[] =>
    Object.entries(files).map(([file, text]) => readModule(file, text));

  t.test('a house crossed by a value, a type, a re-export or a dynamic import', async (t) => {
    const breaches = read({
      'proxy/a.ts': `import { x } from '../relay-client/x.ts';`,
      'proxy/b.ts': `import type { X } from '../relay-client/x.ts';`,
      'proxy/c.ts': `export * from '../relay-client/x.ts';`,
      'proxy/d.ts': `const x = await import('../relay-client/x.ts');`,
      'proxy/e.ts': `type X = import('../relay-client/x.ts').X;`,
      'proxy/fine.ts': `import { x } from '../shared/x.ts'; import { y } from './y.ts';`,
    });
    t.same(
      crossings(breaches, houses),
      ['a', 'b', 'c', 'd', 'e'].map((name) => `proxy/${name}.ts imports relay-client/x.ts`),
    );
  });

  t.test('a cycle of values, but not one closed by a type', async (t) => {
    const circle = { 'shared/a.ts': `import './b.ts';`, 'shared/b.ts': `import { c } from './c.ts';` };
    t.same(cycles(read({ ...circle, 'shared/c.ts': `import { a } from './a.ts';` })), [
      'shared/a.ts → shared/b.ts → shared/c.ts → shared/a.ts',
    ]);
    t.same(cycles(read({ ...circle, 'shared/c.ts': `import type { A } from './a.ts';` })), []);
  });

  t.test('a library outside its door, deep paths included, and one nobody listed', async (t) => {
    const breaches = read({
      'proxy/a.ts': `import pino from 'pino';`,
      'proxy/b.ts': `import { sub } from '@peculiar/x509/sub';`,
      'proxy/c.ts': `import left from 'left-pad';`,
      'proxy/d.ts': `import { DatabaseSync } from 'node:sqlite'; import net from 'node:net';`,
    });
    t.same(strayLibraries(breaches, doors), [
      'proxy/a.ts imports pino',
      'proxy/b.ts imports @peculiar/x509',
      'proxy/c.ts imports left-pad',
      'proxy/d.ts imports node:sqlite',
    ]);
  });

  t.test('a store that opens a socket, and a door that loads a store', async (t) => {
    const breaches = read({
      'relay-client/outbox/a.ts': `import http from 'http';`,
      'relay-client/api/b.ts': `import { createOutbox } from '../outbox/outbox.ts';`,
      'relay-client/api/c.ts': `import type { Outbox } from '../outbox/outbox.ts';`,
    });
    t.same(forbidden(breaches, { in: stores, not: network }), ['relay-client/outbox/a.ts imports node:http']);
    t.same(forbidden(breaches, { in: doorFiles, not: storeFiles, values: true }), [
      'relay-client/api/b.ts imports relay-client/outbox/outbox.ts',
    ]);
  });

  t.test('a look at the environment, by either name', async (t) => {
    const breaches = read({
      'proxy/a.ts': `const port = process.env['PORT'];`,
      'proxy/b.ts': `import { env as e } from 'node:process';`,
      'proxy/main.ts': `process.env['PORT'];`,
      'proxy/fine.ts': `const env = 1; // process.env`,
    });
    t.same(environmentReaders(breaches, mayReadEnvironment), ['proxy/a.ts', 'proxy/b.ts']);
  });
});
