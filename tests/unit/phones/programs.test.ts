import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { DEVICE, startService } from './start.ts';

const PHONES = fileURLToPath(new URL('../../phones/main.ts', import.meta.url));
const SERVICE = fileURLToPath(new URL('../../fixtures/services/plain-main.ts', import.meta.url));

type Program = {
  child: ChildProcess;
  lines: string[];
  errors: () => string;
  /** The first line, past or to come, for which `test` holds. */
  line(test: (line: string) => boolean): Promise<string>;
  ended: Promise<number | null>;
};

function start(t: Test, file: string, args: string[]): Program {
  const child = spawn(process.execPath, [file, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  let errors = '';
  child.stderr.on('data', (piece) => (errors += String(piece)));
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (line) => lines.push(line));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return {
    child,
    lines,
    errors: () => errors,
    ended,
    async line(test) {
      for (;;) {
        const found = lines.find(test);
        if (found !== undefined) return found;
        const more = await Promise.race([once(reader, 'line'), ended.then(() => undefined)]);
        if (!more && !lines.some(test))
          throw new Error(`ended without that line: ${lines.join('\n')} ${errors}`);
      }
    },
  };
}

const facts = (line: string): Record<string, unknown> => JSON.parse(line) as Record<string, unknown>;
const says = (msg: string) => (line: string) => facts(line)['msg'] === msg;

t.test('run --json tells of start-up, polls and sessions, ends cleanly on SIGTERM with totals', async (t) => {
  const service = await startService(t, { answersPolls: true, startUpItems: { 'sip-pwd': 'hush' } });
  const program = start(t, PHONES, [
    ...['run', '--json', '--startup', '--poll', `${service.url}/dcmp/`, '--service', service.url],
    ...['--mac', DEVICE, '--interval', '0.2', '--progress', '0'],
  ]);
  t.match(facts(await program.line(says('session'))), {
    device: DEVICE,
    reason: 'start-up',
    outcome: 'completed',
  });
  t.match(facts(await program.line(says('poll'))), { device: DEVICE, status: 200 });
  const done = service.enqueue(DEVICE, [{ action: 'ReadItems', items: { e164: '' } }]);
  t.match(await done, [{ status: 'accepted' }]);
  await program.line((line) => facts(line)['reason'] === 'solicited');
  program.child.kill('SIGTERM');
  t.equal(await program.ended, 0);
  t.match(facts(program.lines.at(-1) ?? '{}'), { msg: 'done', phones: 1, sessionsBy: { completed: 2 } });
  t.notMatch(program.lines.join('\n'), 'hush', 'item values stay out of the output');
});

t.test('run ends by itself after --duration, readable, and --strict reports failures', async (t) => {
  const gone = await startService(t, { tls: false });
  await gone.close();
  const args = ['run', '--poll', `${gone.url}/`, '--count', '3', '--interval', '0.05', '--duration', '0.3'];
  const program = start(t, PHONES, [...args, '--strict']);
  t.equal(await program.ended, 1);
  t.match(program.lines.at(-1), /^total 0\.\d s: \d+ polls \(refused: \d+\)/);
  t.match(program.lines[0], /^00:1A:E8:00:00:0\d {2}poll: status null, reason refused/);
});

t.test('poll prints one status; its exit code says whether it was the expected one', async (t) => {
  const service = await startService(t, { tls: false, answersPolls: true });
  const poll = (...more: string[]): Program =>
    start(t, PHONES, ['poll', '--poll', `${service.url}/dcmp/`, '--device', DEVICE, ...more]);
  const quiet = poll();
  t.equal(await quiet.ended, 0);
  t.strictSame(quiet.lines, ['200']);
  void service.enqueue(DEVICE, [{ action: 'ReadAllItems' }]);
  const json = poll('--json', '--expect', '202');
  t.equal(await json.ended, 0);
  t.match(facts(json.lines[0] ?? ''), { msg: 'poll', device: DEVICE, status: 202 });
  const other = poll('--expect', '200');
  t.equal(await other.ended, 1);
  t.match(other.errors(), /expected 200, got 202/);
  await service.close();
  const refused = poll();
  t.equal(await refused.ended, 1);
  t.match(refused.errors(), /refused the connection/);
});

const WRONG: [args: string[], complaint: RegExp][] = [
  [['run'], /nothing to do/],
  [['run', '--count', '0'], /whole number from 1/],
  [['run', '--poll', 'http://p/', '--mac', 'phone'], /expected a MAC/],
  [['run', '--service', 'h:1', '--count', '2', '--contact-listen', '127.0.0.1:0'], /takes one phone/],
  [['run', '--poll', 'http://p/', '--ca', '/nowhere'], /ENOENT/],
  [['poll', '--poll', 'http://p/'], /required option '--device/],
  [['fly'], /unknown command/],
];
t.test('wrong arguments end with 2 and say what is expected', async (t) => {
  await Promise.all(
    WRONG.map(async ([args, complaint]) => {
      const program = start(t, PHONES, args);
      t.equal(await program.ended, 2, args.join(' '));
      t.match(program.errors(), complaint);
    }),
  );
});

t.test('help and version end with 0', async (t) => {
  const help = start(t, PHONES, ['run', '--help']);
  t.equal(await help.ended, 0);
  t.match(help.lines.join('\n'), /--poll <url>[^]*--duration <s>[^]*Exit code 0/);
  const version = start(t, PHONES, ['--version']);
  t.equal(await version.ended, 0);
  t.match(version.lines[0], /^\d+\.\d+\.\d+/);
});

t.test('the plain service runs as a process and is driven over HTTP or standard input', async (t) => {
  const program = start(t, SERVICE, ['--port', '0', '--write', '{"realm":"demo"}', '--polls']);
  const ready = facts(await program.line(says('ready')));
  const [service, admin] = [String(ready['service']), String(ready['admin'])];
  const phones = start(t, PHONES, [
    'run',
    '--startup',
    '--service',
    service,
    '--contact-listen',
    '127.0.0.1:0',
    '--contact-gap',
    '0',
  ]);
  await program.line((line) => facts(line)['reason'] === 'start-up');

  const post = (path: string, body: unknown): Promise<Response> =>
    fetch(`${admin}/devices/${path}`, { method: 'POST', body: JSON.stringify(body) });
  const wait = await post(`${DEVICE}/actions?contact&wait`, [{ action: 'ReadItems', items: { realm: '' } }]);
  t.match(await wait.json(), [{ status: 'accepted', items: [{ name: 'realm', value: 'demo' }] }]);
  t.match(await (await fetch(`${admin}/devices`)).json(), [{ deviceId: DEVICE, queued: 0, startUps: 1 }]);
  t.equal((await post('00:00:00:00:00:99/contact', {})).status, 502);
  t.equal((await post(`${DEVICE}/actions`, {})).status, 400);
  t.equal((await fetch(`${admin}/devices/none`)).status, 404);

  program.child.stdin?.write('nonsense\n');
  await program.line(says('error'));
  const actions = [{ action: 'WriteItems', items: { realm: 'typed' } }];
  program.child.stdin?.write(`${JSON.stringify({ device: DEVICE, actions, contact: true })}\n`);
  await program.line((line) => facts(line)['msg'] === 'result' && facts(line)['action'] === 'WriteItems');
  for (const { child, ended } of [phones, program]) {
    child.kill('SIGTERM');
    t.equal(await ended, 0);
  }
});
