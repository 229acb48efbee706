/** README.md is followed to the letter: its configs are written, its commands run, and what it promises is looked for. */
import { spawnSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse, parseDocument } from 'yaml';
import { blocksOf, readDocument, ROOT } from '../fixtures/documents.ts';
import { ownPort } from '../fixtures/ports.ts';
import { createShell } from '../fixtures/shell.ts';
import { createPlainService } from '../fixtures/services/index.ts';
import { until } from '../fixtures/until.ts';

/** Addresses that README names. In the test each is a free port of this machine. */
const ADDRESSES = [
  ['proxy.example:8080', '0.0.0.0:8080'],
  ['proxy.example:18443', '0.0.0.0:18443'],
  ['proxy.example:9443', '0.0.0.0:9443'],
  ['127.0.0.1:9464'],
  ['127.0.0.1:9470'],
  ['dls.internal:18443'],
];

/** What a reader copies from the output of an earlier command. */
const COPIED = [
  { written: 'sallyport-join-1.…', from: 'sallyport-proxy invite', prefix: '' },
  { written: 'sha256:…', from: 'openssl s_client', prefix: 'sha256:' },
];

/** Commands that stay, and what they print once they do their work. All others must end with 0 by themselves. */
const STAYING = [
  { starts: 'sallyport-proxy run', prints: /"msg":"ready"/ },
  { starts: 'sallyport-relay run', prints: /"msg":"link up"/ },
  { starts: 'sallyport-relay events', prints: /cleared \(session\)/ },
];

/** Commands that set something for those after them. */
const SETTING = /^(cd |PATH=)/;

/** Run elsewhere: `npm start` by start.test.ts, with `-- --once`; `npm test` runs this very file. */
const ELSEWHERE = ['npm start', 'npm test'];

/** Every command of README that ends, in order, and what it must print. */
const EXPECTED: [string, RegExp][] = [
  ['sallyport-proxy init', /wrote .*proxy\.yaml\n.*proxy\.pem\n.*proxy\.key\n/],
  ['sallyport-proxy check', /is fine: poll doors: 1, session doors: 1, sites: 1/],
  ['sallyport-proxy invite', /may join site default .*\nsallyport-join-1\.\S+\n$/],
  ['sallyport-relay join', /relay hq-1 has joined site default/],
  ['openssl req', /^$/],
  ['openssl s_client', /^[A-Za-z0-9+/]{43}=\n$/],
  ['sallyport-relay check', /is fine: proxies: 1, services: 1/],
  ['sallyport-relay status', /ready +yes[^]*\nwss:\S+ +up [^]*\nwpi +wpi +up /],
  ['curl -s -o', /^200\n$/],
  ['sallyport-relay push', /held \(message \S+, generation 1\); at wss:/],
  ['curl -s -o', /^202\n$/],
  ['sallyport-phones run', /202: 1[^]*1 sessions \(completed: 1\)/],
  ['sallyport-relay why', /Nothing is pending for 00:1a:e8:12:34:56; .*cleared \(session\)/],
  ['sallyport-relay devices', /00:1a:e8:12:34:56 +idle +0 +1 .* completed/],
  ['curl -s -X POST', /"generation":2,"state":"held"/],
  ['curl -s http', /"pending":1/],
  ['curl -s -X DELETE', /"count":1/],
];

const missing = ['curl', 'openssl'].filter((tool) => spawnSync(tool, ['--version']).error !== undefined);
const skip = missing.length > 0 && `needs ${missing.join(' and ')}`;

t.test('every command of README.md does what README.md says', { skip }, async (t) => {
  const home = t.testdir();
  symlinkSync(ROOT, join(home, 'sallyport'));
  const ports = await Promise.all(ADDRESSES.map(() => ownPort()));
  const table = ADDRESSES.flatMap((names, i) =>
    names.map((name) => [name, `127.0.0.1:${ports[i]}`] as const),
  );
  const service = await createPlainService({ host: '127.0.0.1', port: ports.at(-1)! });
  t.teardown(() => service.close());

  const printed: { command: string; text: string }[] = [];
  const replace = (text: string): string => {
    let replaced = text;
    for (const [written, here] of table) replaced = replaced.replaceAll(written, here);
    for (const { written, from, prefix } of COPIED) {
      const source = printed.findLast(({ command }) => command.startsWith(from));
      const word = source?.text.trim().split('\n').at(-1) ?? `nothing was printed by ${from}`;
      replaced = replaced.replaceAll(written, prefix + word);
    }
    return replaced;
  };
  const path = (written: string): string => written.replace(/^~/, home);

  /** Writes the keys of a block into the file that its first line names, and the table's addresses into the rest. */
  const edit = (text: string): void => {
    const file = path(/^# (~\S+)/.exec(text)?.[1] ?? '');
    const document = parseDocument(readFileSync(file, 'utf8'));
    for (const [key, value] of Object.entries(parse(replace(text)) as object)) document.set(key, value);
    writeFileSync(file, replace(document.toString()));
  };

  const settings: string[] = [];
  const shell = createShell({ home });
  const expected = [...EXPECTED];
  const status = async (): Promise<number> =>
    (await fetch(replace('http://proxy.example:8080/dcmp/contact-me?device-id=001ae8123456'))).status;
  const pending = async (): Promise<unknown> => {
    const shown = await fetch(replace('http://127.0.0.1:9470/v1/devices/001ae8123456'));
    return ((await shown.json()) as { pending: unknown }).pending;
  };
  /** A reader is slower than this test: by then the relay has tried the service. */
  const upstreamIsUp = async (): Promise<void> => {
    await until('the service is up', async () => {
      const { services } = (await (await fetch(replace('http://127.0.0.1:9470/v1/services'))).json()) as {
        services: { up: boolean }[];
      };
      return services.every(({ up }) => up);
    });
  };

  for (const { language, text } of blocksOf(readDocument('README.md'))) {
    if (language === 'yaml') edit(text);
    if (language !== 'sh') continue;
    for (const written of text.trim().split('\n')) {
      if (ELSEWHERE.includes(written)) continue;
      if (SETTING.test(written)) {
        settings.push(written);
        continue;
      }
      const staying = STAYING.find(({ starts }) => written.startsWith(starts));
      const command = replace(written);
      if (staying !== undefined) {
        const program = shell.stay(command, settings);
        t.teardown(() => program.end());
        await program.prints(staying.prints);
        if (staying.starts === 'sallyport-relay run') await upstreamIsUp();
        t.pass(`${written} runs`);
        continue;
      }
      const [starts, prints] = expected.shift() ?? ['nothing', /^$/];
      if (!written.startsWith(starts))
        throw new Error(`expected a command "${starts}", README has ${written}`);
      const { code, stdout, stderr } = await shell.run([...settings, command].join('\n'));
      printed.push({ command: written, text: stdout });
      if (code !== 0) t.comment(stderr);
      t.equal(code, 0, `${written} ends with 0`);
      t.match(stdout, prints, `${written} prints what it should`);
      if (starts === 'sallyport-phones run') {
        await until('nothing is pending for the phone', async () => (await pending()) === 0);
        await until('the phone is told 200 again', async () => (await status()) === 200);
      }
    }
  }
  t.same(expected, [], 'README has all the commands that are expected');
});

t.test('the commands of README.md that are run elsewhere exist', async (t) => {
  const { scripts } = JSON.parse(readDocument('package.json')) as { scripts: Record<string, string> };
  t.match(scripts['start'], /deploy\/demo\/start$/, 'npm start');
  t.match(scripts['test'], /tests\/run$/, 'npm test');
  const lines = blocksOf(readDocument('README.md')).flatMap(({ text }) => text.trim().split('\n'));
  for (const command of ELSEWHERE) t.ok(lines.includes(command), command);
  t.match(
    readDocument('tests/system/start.test.ts'),
    /'npm',\s*\['start', '--', '--once'\]/,
    'npm start is run',
  );
});
