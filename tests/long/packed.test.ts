import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { parse, stringify } from 'yaml';
import { commandsOf, firstBlock } from '../fixtures/documents.ts';
import { startGate } from '../fixtures/gate.ts';
import { createShell } from '../fixtures/shell.ts';
import { buildPhoneMessage } from '../../shared/wpi/index.ts';
import { ownAddress } from '../fixtures/ports.ts';

/** What ends up in the package or is needed to make it. */
const sources = ['bin', 'proxy', 'relay-client', 'shared', 'tests/phones'];
const rootFiles = /^(package(-lock)?\.json|tsconfig.*\.json|\.taprc|\.npmrc|LICENSE|.*\.md)$/;
const commands = ['sallyport-proxy', 'sallyport-relay', 'sallyport-phones'];

const PATH = [dirname(process.execPath), process.env['PATH']].join(delimiter);
const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));
const { version } = read(join(root, 'package.json')) as { version: string };

interface LockEntry {
  dev?: boolean;
  devOptional?: boolean;
  link?: boolean;
}

async function run(
  command: string,
  args: string[],
  cwd: string,
): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(command, args, { cwd, env: { ...process.env, PATH } });
}

function makeDirectory(t: Test, name: string): string {
  const path = mkdtempSync(join(tmpdir(), `sallyport-${name}-`));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Packs a copy, so that a run beside this one never sees a half-built dist/. */
async function pack(t: Test): Promise<string> {
  const copy = makeDirectory(t, 'pack');
  for (const folder of sources) cpSync(join(root, folder), join(copy, folder), { recursive: true });
  for (const file of readdirSync(root).filter((name) => rootFiles.test(name)))
    cpSync(join(root, file), join(copy, file));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  await run('npm', ['pack', '--loglevel=error'], copy);
  return join(copy, `sallyport-${version}.tgz`);
}

/**
 * Installs the package as docs/wpi.md says, in a directory whose lock file has the versions of ours: npm then takes them
 * from its cache and needs no network.
 */
async function install(t: Test, tarball: string): Promise<string> {
  const path = makeDirectory(t, 'installed');
  const lock = read(join(root, 'package-lock.json')) as { packages: Record<string, LockEntry> };
  const needed = Object.entries(lock.packages).filter(
    ([name, entry]) => name.startsWith('node_modules/') && !entry.dev && !entry.devOptional && !entry.link,
  );
  const project = { name: 'installed', version: '1.0.0', type: 'module' };
  const packages = { '': project, ...Object.fromEntries(needed) };
  writeFileSync(join(path, 'package.json'), JSON.stringify({ ...project, private: true }));
  writeFileSync(
    join(path, 'package-lock.json'),
    JSON.stringify({ ...project, lockfileVersion: 3, packages }),
  );
  cpSync(tarball, join(path, basename(tarball)));
  const quiet = { npm_config_loglevel: 'error', npm_config_audit: 'false', npm_config_fund: 'false' };
  const shell = createShell({ home: path, env: { PATH, npm_config_prefer_offline: 'true', ...quiet } });
  const { code, stderr } = await shell.run(commandsOf('docs/wpi.md', 'npm install'));
  if (code !== 0) throw new Error(`npm install ended with ${code}: ${stderr}`);
  return path;
}

t.test('the packed and installed package', async (t) => {
  const installed = await install(t, await pack(t));
  const home = join(installed, 'node_modules/sallyport');

  t.test('holds compiled programs and no sources', async (t) => {
    const files = readdirSync(home, { recursive: true, encoding: 'utf8' });
    t.same(
      files.filter((name) => /(?<!\.d)\.ts$/.test(name) || name.endsWith('package-lock.json')),
      [],
    );
    t.ok(files.includes('LICENSE'));
    t.same(files.filter((name) => name.startsWith('dist/proxy/main.')).sort(), [
      'dist/proxy/main.d.ts',
      'dist/proxy/main.js',
    ]);
  });

  for (const command of commands) {
    t.test(`${command} starts and tells its version`, async (t) => {
      const { stdout, stderr } = await run(
        join(installed, 'node_modules/.bin', command),
        ['--version'],
        installed,
      );
      t.match(stdout, version);
      t.equal(stderr, '');
    });
  }

  t.test('its programs and worker threads bring a push to a phone’s poll', async (t) => {
    const gate = await startGate(t, { root: pathToFileURL(`${home}/`) });
    const device = '001AE8000001';
    t.equal(await gate.poll(device), 200);
    t.equal((await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {})).status, 201);
    await gate.polls(device, 202);
    const page = await fetch(`${gate.api}/`);
    t.equal(page.status, 200, 'the dashboard was built into the package');
    const script = /assets\/[^"]+\.js/.exec(await page.text())?.[0] ?? 'none';
    t.equal((await fetch(`${gate.api}/${script}`)).status, 200);
    t.equal(await gate.relay.stop(), 0);

    await t.test('and a relay inside a service, by docs/sdk.md, does the same', async (t) => {
      const PATH = `${join(installed, 'node_modules/.bin')}${delimiter}${process.env['PATH']}`;
      const shell = createShell({ home: installed, env: { PATH } });
      const invited = await shell.run(`sallyport-proxy invite embedded --config ${gate.proxyConfig}`);
      const word = invited.stdout.trim().split('\n').at(-1) ?? '';
      const joining = commandsOf('docs/sdk.md', 'sallyport-relay join').replace('sallyport-join-1.…', word);
      t.match(await shell.run(joining), { code: 0 });
      const address = await ownAddress();
      const file = join(installed, 'relay.yaml');
      const upstream = `http://${address}`;
      const services = [{ name: 'wpi', kind: 'wpi', tls: null, upstream }];
      writeFileSync(
        file,
        stringify({
          ...(parse(readFileSync(file, 'utf8')) as object),
          services,
          api: { listen: '127.0.0.1:0' },
        }),
      );
      const example = firstBlock('docs/sdk.md', 'ts').replace('8443', address.split(':')[1]!);
      writeFileSync(join(installed, 'service.ts'), example);
      const service = shell.stay(`${process.execPath} service.ts`);
      t.teardown(() => service.end());
      await service.prints(/00:1A:E8:12:34:56 is asked to call: message \S+, generation 1/);
      await gate.polls('00:1A:E8:12:34:56', 202);
    });
    t.equal(await gate.proxy.stop(), 0);
  });

  t.test('the SDK is imported by the package’s name', async (t) => {
    const script = `import * as sdk from 'sallyport'; console.log(Object.keys(sdk).join(' '))`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], installed);
    t.not(stdout.trim(), '');
  });

  t.test('WPI messages are built and read by its second name', async (t) => {
    const script = `
      import { buildPhoneMessage, buildServiceMessage, itemValue, readPhoneMessage, readServiceMessage } from 'sallyport/wpi';
      const items = [{ name: 'mac-addr', value: '00:1A:E8:00:00:01' }];
      const phone = readPhoneMessage(buildPhoneMessage({ nonce: 'A1', reason: 'solicited', items }));
      const answer = readServiceMessage(buildServiceMessage({ nonce: phone.nonce, action: 'CleanUp' }));
      console.log(phone.reason, itemValue(phone.items, 'mac-addr'), answer.nonce, answer.action);`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], installed);
    t.equal(stdout.trim(), 'solicited 00:1A:E8:00:00:01 A1 CleanUp');
  });

  t.test('the service of docs/wpi.md tells a phone its poll address', async (t) => {
    const address = await ownAddress();
    const example = firstBlock('docs/wpi.md', 'ts').replace('8443', address.split(':')[1]!);
    writeFileSync(
      join(installed, 'wpi-service.ts'),
      `${example}\nserver.once('listening', () => console.log('listens'));\n`,
    );
    const service = createShell({ home: installed }).stay(`${process.execPath} wpi-service.ts`);
    t.teardown(() => service.end());
    await service.prints(/listens/);
    const body = buildPhoneMessage({ nonce: 'A1', reason: 'start-up', items: [] });
    const answer = await fetch(`http://${address}/`, { method: 'POST', body });
    t.match(await answer.text(), /WriteItems[^]*http:\/\/proxy\.example:8080\/dcmp\//);
  });

  t.test('SDK and WPI bring their types', async (t) => {
    mkdirSync(join(installed, 'src'));
    writeFileSync(
      join(installed, 'src/user.mts'),
      [
        `import * as sdk from 'sallyport';`,
        `import { readPhoneMessage } from 'sallyport/wpi';`,
        `import type { PhoneMessage } from 'sallyport/wpi';`,
        `export const names: (keyof typeof sdk)[] = [];`,
        `export const read: PhoneMessage | { unreadable: string } = readPhoneMessage(Buffer.alloc(0));`,
        `// @ts-expect-error: no such export`,
        `export const wrong = sdk.noSuchExport;`,
        `// @ts-expect-error: takes bytes`,
        `export const taken = readPhoneMessage('text');`,
      ].join('\n'),
    );
    const options = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      'false',
      '--target',
      'es2024',
      '--module',
      'nodenext',
    ];
    const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    await t.resolves(run(process.execPath, [tsc, ...options, ...types, 'src/user.mts'], installed));
  });
});
