import { execPath } from 'node:process';
import { existsSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeCheckout, type Checkout } from '../fixtures/project/checkout.ts';

const installing = 'installing dependencies (once)';

/** What a npm leaves behind that installed everything, in shell. */
const fakeInstall = `mkdir -p node_modules/part && cp part/* node_modules/part/ && echo '{"packages":{}}' > node_modules/.package-lock.json`;

/** Puts an npm of our own first on PATH; each of its runs adds a line to `npm-runs`. */
function withNpm(checkout: Checkout, script: string): Record<string, string> {
  const npm = checkout.write('fake/npm', `#!/bin/sh\necho run >> npm-runs\n${script}\n`, {
    executable: true,
  });
  return { PATH: `${join(npm, '..')}:${join(execPath, '..')}:${process.env['PATH'] ?? ''}` };
}
const npmRuns = (checkout: Checkout): number =>
  readFileSync(join(checkout.path, 'npm-runs'), 'utf8').trimEnd().split('\n').length;

t.test('two first runs at once install once, and both programs start', async (t) => {
  const checkout = makeCheckout(t);
  const ends = await Promise.all(
    ['one', 'two'].map((name) => checkout.start('bin/sallyport-proxy', [name]).ended),
  );
  t.same(
    ends.map(({ code, stdout }) => [code, stdout]),
    [
      [0, 'the part one\n'],
      [0, 'the part two\n'],
    ],
  );
  const said = ends.map(({ stderr }) => stderr).join('');
  t.equal(said.split(installing).length - 1, 1, said);
});

t.test('a later run installs nothing and says nothing', async (t) => {
  const checkout = makeCheckout(t);
  await checkout.start('bin/sallyport-proxy').ended;
  const stamp = join(checkout.path, 'node_modules/.sallyport-setup');
  const before = statSync(stamp).mtimeMs;
  const end = await checkout.start('bin/sallyport-proxy').ended;
  t.equal(end.stderr, '');
  t.equal(statSync(stamp).mtimeMs, before);
});

t.test(
  "a relay's launcher builds the dashboard's pages once, and again when a source is newer",
  async (t) => {
    const checkout = makeCheckout(t);
    const page = checkout.write('relay-client/dashboard/page.tsx', 'old');
    checkout.write('relay-client/main.ts', `console.log('relay')`);
    // As the builder: a new file by a new name, and a line for each run.
    checkout.write(
      'bin/dashboard.ts',
      `import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
mkdirSync('relay-client/dashboard/built', { recursive: true });
appendFileSync('builds', 'run\\n');
writeFileSync('relay-client/dashboard/built/pages.json', 'built');
`,
    );
    const start = (name: string) => checkout.start(`bin/${name}`).ended;
    const builds = (): number =>
      readFileSync(join(checkout.path, 'builds'), 'utf8').trimEnd().split('\n').length;
    await start('sallyport-proxy');
    t.notOk(existsSync(join(checkout.path, 'builds')), 'a proxy has no pages');
    const ends = await Promise.all(['sallyport-relay', 'sallyport-relay'].map(start));
    t.same(
      ends.map(({ code, stdout }) => [code, stdout]),
      [
        [0, 'relay\n'],
        [0, 'relay\n'],
      ],
    );
    const first = builds();
    await start('sallyport-relay');
    t.equal(builds(), first, 'nothing is newer');
    const renew = (file: string): void => {
      // Newer than whatever has been built by now, however long that took.
      const later = new Date(Date.now() + 1_000);
      utimesSync(file, later, later);
    };
    renew(page);
    await start('sallyport-relay');
    t.equal(builds(), first + 1);
    for (const program of ['tests/run', 'bin/check']) {
      checkout.write(`${program}.ts`, `console.log('checks')`);
      rmSync(join(checkout.path, 'relay-client/dashboard/built/pages.json'));
      await checkout.start('sh', ['bin/launch.sh', program]).ended;
      t.ok(existsSync(join(checkout.path, 'relay-client/dashboard/built/pages.json')), program);
    }

    checkout.write('bin/dashboard.ts', `process.exitCode = 1;`);
    renew(join(checkout.path, 'bin/dashboard.ts'));
    const end = await start('sallyport-relay');
    t.equal(end.code, 0, 'a relay runs without its pages');
    t.match(end.stderr, /could not be built/);
  },
);

t.test('a changed lock file installs again', async (t) => {
  const checkout = makeCheckout(t);
  const env = withNpm(checkout, fakeInstall);
  await checkout.start('node', ['bin/setup.mjs'], env).ended;
  const lock = readFileSync(join(checkout.path, 'package-lock.json'), 'utf8');
  const packages = { 'node_modules/new': { version: '1.0.0', integrity: 'sha512-x' } };
  checkout.write('package-lock.json', JSON.stringify({ ...(JSON.parse(lock) as object), packages }));
  const end = await checkout.start('node', ['bin/setup.mjs'], env).ended;
  t.match(end.stderr, installing);
  t.equal(npmRuns(checkout), 2);
});

t.test('what a plain `npm ci` installed is not installed again', async (t) => {
  const checkout = makeCheckout(t);
  await checkout.start('npm', ['ci', '--no-audit', '--no-fund']).ended;
  const end = await checkout.start('bin/sallyport-proxy', ['after']).ended;
  t.equal(end.stdout, 'the part after\n');
  t.equal(end.stderr, '');
});

t.test('a first run that was killed is repeated by the one that waited for it', async (t) => {
  const checkout = makeCheckout(t);
  const turn = await makeTurnstile(t);
  // Holds its first run until the test has seen it and been told to go on.
  const env = withNpm(
    checkout,
    `[ "$(wc -l < npm-runs)" -gt 1 ] || exec node wait.mjs ${turn.port}\n${fakeInstall}`,
  );
  checkout.write(
    'wait.mjs',
    `import net from 'node:net'; net.connect(Number(process.argv[2]), '127.0.0.1').on('close', () => process.exit(1)).resume();`,
  );
  const killed = checkout.start('node', ['bin/setup.mjs'], env);
  const npm = await turn.arrived;
  killed.process.kill('SIGKILL');
  await once(killed.process, 'exit');
  const second = checkout.start('bin/sallyport-proxy', ['second'], env);
  // The orphaned npm still works in node_modules, so the lock must still be held.
  const waiting = await Promise.race([
    second.ended.then(() => 'ended'),
    new Promise((resolve) => second.process.stderr?.once('data', (line) => resolve(String(line)))),
  ]);
  t.match(waiting, process.platform === 'linux' ? 'waiting for another first run' : installing);
  npm.destroy();
  const end = await second.ended;
  t.equal(end.stdout, 'the part second\n');
  t.equal(npmRuns(checkout), 2);
});

/** A port at which one waiting process is seen arriving. */
async function makeTurnstile(t: Test): Promise<{ port: number; arrived: Promise<Socket> }> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  const arrived = once(server, 'connection').then(([socket]) => socket as Socket);
  return { port: typeof address === 'object' && address !== null ? address.port : 0, arrived };
}

t.test('a failing install says what to do, starts nothing, and leaves no stamp', async (t) => {
  const checkout = makeCheckout(t);
  const end = await checkout.start('bin/sallyport-proxy', [], withNpm(checkout, 'exit 3')).ended;
  t.equal(end.code, 1);
  t.equal(end.stdout, '');
  t.match(end.stderr, 'npm ci failed (exit 3)');
  t.match(end.stderr, 'check the network');
  t.notOk(existsSync(join(checkout.path, 'node_modules/.sallyport-setup')));
});

t.test('a machine without npm is told so', async (t) => {
  const checkout = makeCheckout(t);
  const end = await checkout.start(execPath, ['bin/setup.mjs'], { PATH: '/nonexistent' }).ended;
  t.equal(end.code, 1);
  t.match(end.stderr, 'npm was not found on PATH');
});

t.test('signals and the exit code are the program’s own', async (t) => {
  const checkout = makeCheckout(t);
  checkout.write(
    'proxy/main.ts',
    `process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 1000); console.log('ready');`,
  );
  const running = checkout.start('bin/sallyport-proxy');
  await running.printed('ready');
  running.process.kill('SIGTERM');
  t.match(await running.ended, { code: 7, signal: null });
});

t.test('an installed package runs its compiled programs, through npm’s symlinks', async (t) => {
  const checkout = makeInstalled(t);
  checkout.write('dist/proxy/main.js', `console.log('compiled', ...process.argv.slice(2));`);
  symlinkSync('../bin/sallyport-proxy', checkout.write('links/x', '').replace(/x$/, 'sallyport-proxy'));
  const end = await checkout.start('links/sallyport-proxy', ['a b', '*']).ended;
  t.match(end, { code: 0, stdout: 'compiled a b *\n', stderr: '' });
});

t.test('a Node that is too old is named, and SALLYPORT_NODE names a better one', async (t) => {
  const checkout = makeInstalled(t);
  checkout.write('dist/relay-client/main.js', `console.log('compiled');`);
  const old = checkout.write('old/node', '#!/bin/sh\necho v20.19.0\n', { executable: true });
  const env = { PATH: `${join(old, '..')}:${process.env['PATH'] ?? ''}` };
  const refused = await checkout.start('bin/sallyport-relay', [], env).ended;
  t.match(refused, { code: 1, stdout: '', stderr: /Node.js 24 or newer is needed, found v20\.19\.0/ });
  const given = await checkout.start('bin/sallyport-relay', [], { ...env, SALLYPORT_NODE: execPath }).ended;
  t.match(given, { code: 0, stdout: 'compiled\n' });
  const wrong = await checkout.start('bin/sallyport-relay', [], { ...env, SALLYPORT_NODE: old }).ended;
  t.match(wrong, { code: 1, stderr: /SALLYPORT_NODE=.* is not Node.js 24 or newer/ });
});

/** Like an installed package: no lock file, no sources. */
function makeInstalled(t: Test): Checkout {
  const checkout = makeCheckout(t);
  rmSync(join(checkout.path, 'package-lock.json'));
  rmSync(join(checkout.path, 'proxy'), { recursive: true });
  return checkout;
}
