import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { commandsOf, ROOT } from '../fixtures/documents.ts';
import { createShell } from '../fixtures/shell.ts';
import { loadSimulation } from './load.ts';

const { runSeed, stop } = await loadSimulation();
t.teardown(stop);

const program = fileURLToPath(new URL('main.ts', import.meta.url));

t.test(
  'one seed is one run: byte for byte the same, whatever ran before, and in another process',
  async (t) => {
    for (const seed of [2, 5]) {
      const lines: string[] = [];
      const first = await runSeed({ seed, digest: true, trace: (line) => lines.push(line) });
      const again: string[] = [];
      const second = await runSeed({ seed, digest: true, trace: (line) => again.push(line) });
      t.same(again, lines);
      t.equal(second.digest, first.digest);
      t.ok(lines.length > 100);
      const alone = spawnSync(
        process.execPath,
        ['--disable-warning=ExperimentalWarning', program, '--seed', String(seed)],
        { encoding: 'utf8', maxBuffer: 2 ** 28 },
      );
      t.equal(alone.status, 0);
      t.match(alone.stdout, `digest ${first.digest}`);
    }
  },
);

t.test('the commands of docs/simulation.md run', async (t) => {
  const shell = createShell({ home: t.testdir(), cwd: ROOT });
  const commands = commandsOf('docs/simulation.md', 'npm run simulate').trim().split('\n');
  const seen = await Promise.all(commands.map((command) => shell.run(command)));
  t.same(
    seen.map(({ code }) => code),
    commands.map(() => 0),
    JSON.stringify(seen.map(({ stderr }) => stderr)),
  );
  t.match(seen[0]?.stdout, /1 seeds from 17 on, .* 0 broke a promise/);
});

t.test('two seeds are two runs', async (t) => {
  const digests = new Set<string>();
  for (const seed of [1, 2, 3]) digests.add((await runSeed({ seed, digest: true })).digest);
  t.equal(digests.size, 3);
});

t.test('what happens in runs is what promises are about', async (t) => {
  const happened = new Set<string>();
  for (let seed = 1; seed <= 40; seed++) {
    await runSeed({
      seed,
      trace(line) {
        const [, , what = '', rest = ''] = /^\s*(\S+)\s+(\S+) (.*)$/.exec(line) ?? [];
        happened.add(what);
        for (const [word] of rest.matchAll(
          /"(?:event|name|how|code|why)":"[\w-]+"|"status":20[02]|"outcome":"[\w-]+"/g,
        ))
          happened.add(word.replaceAll('"', ''));
      },
    });
  }
  const wanted = [
    ...[
      'why:dls',
      'why:courier',
      'push-accepted',
      'held-by',
      'looked-up',
      'store-restored',
      'status:200',
      'status:202',
    ],
    ...['accepted', 'cleared', 'superseded', 'expired', 'cancelled', 'dead'].map((end) => `event:${end}`),
    ...['completed', 'busy', 'again', 'overloaded', 'refused', 'phone-clean-up', 'service-error', 'cut'].map(
      (outcome) => `outcome:${outcome}`,
    ),
    ...['cut', 'one-way', 'stall', 'relay-crash', 'proxy-crash', 'proxy-freeze', 'service-down', 'night'].map(
      (fault) => `name:${fault}`,
    ),
    ...['wall-jump', 'disk-full', 'sync-fails', 'second-relay', 'restore'].map((fault) => `name:${fault}`),
    ...[
      'how:crash',
      'how:close',
      'how:storage',
      'code:OUTBOX_FULL',
      'code:OUTBOX_STORAGE',
      'code:KEY_REUSED',
    ],
  ];
  t.same(
    wanted.filter((word) => !happened.has(word)),
    [],
  );
});
