import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { runProgram, startProcess, startProgram } from '../../fixtures/program.ts';
import type { Finished, LogLine, Program } from '../../fixtures/program.ts';
import { DEVICE, startService } from './start.ts';

const SERVICE = fileURLToPath(new URL('../../fixtures/services/plain-main.ts', import.meta.url));

async function startPhones(t: Test, ...args: string[]): Promise<Program> {
  const program = await startProgram('sallyport-phones', ['run', '--json', '--progress', '0', ...args]);
  t.teardown(() => program.stop());
  return program;
}

const says = (msg: string) => (line: LogLine) => line.msg === msg;
const runPhones = (...args: string[]): Promise<Finished> => runProgram('sallyport-phones', args);
/** A poll base where nothing listens. */
const NOBODY = 'http://127.0.0.1:1/';

t.test('run --json tells of start-up, polls and sessions, ends cleanly on SIGTERM with totals', async (t) => {
  const service = await startService(t, { answersPolls: true, startUpItems: { 'sip-pwd': 'hush' } });
  const program = await startPhones(
    t,
    ...['--startup', '--poll', `${service.url}/dcmp/`, '--service', service.url],
    ...['--mac', DEVICE, '--interval', '0.2'],
  );
  t.match(program.ready, { msg: 'ready', phones: 1, first: DEVICE });
  t.match(await program.line(says('session')), { device: DEVICE, reason: 'start-up', outcome: 'completed' });
  t.match(await program.line(says('poll')), { device: DEVICE, status: 200 });
  const done = service.enqueue(DEVICE, [{ action: 'ReadItems', items: { e164: '' } }]);
  t.match(await done, [{ status: 'accepted' }]);
  await program.line((line) => line['reason'] === 'solicited');
  program.signal('SIGTERM');
  t.equal(await program.exited, 0);
  t.match(program.lines.at(-1), { msg: 'done', phones: 1, sessionsBy: { completed: 2 } });
  t.notMatch(JSON.stringify(program.lines), 'hush', 'item values stay out of the output');
});

t.test('run ends by itself after --duration, readable, and --strict reports failures', async (t) => {
  const args = ['run', '--poll', NOBODY, '--count', '3', '--interval', '0.05', '--duration', '0.3'];
  const { code, stdout } = await runPhones(...args, '--strict');
  t.equal(code, 1);
  t.match(stdout, /^00:1A:E8:00:00:0\d {2}poll: status null, reason refused/);
  t.match(stdout, /\ntotal \d+\.\d s: \d+ polls \(refused: \d+\)[^\n]*\n$/);
});

t.test('poll prints one status; its exit code says whether it was the expected one', async (t) => {
  const service = await startService(t, { tls: false, answersPolls: true });
  const poll = (...more: string[]): Promise<Finished> =>
    runPhones('poll', '--device', DEVICE, '--poll', `${service.url}/dcmp/`, ...more);
  t.match(await poll(), { code: 0, stdout: '200\n', stderr: '' });
  void service.enqueue(DEVICE, [{ action: 'ReadAllItems' }]);
  const [json, other, refused] = await Promise.all([
    poll('--json', '--expect', '202'),
    poll('--expect', '200'),
    poll('--poll', NOBODY),
  ]);
  t.equal(json.code, 0);
  t.match(JSON.parse(json.stdout), { msg: 'poll', device: DEVICE, status: 202 });
  t.match(other, { code: 1, stderr: /expected 200, got 202/ });
  t.match(refused, { code: 1, stdout: '', stderr: /refused the connection/ });
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
for (const [args, complaint] of WRONG) {
  t.test(`wrong arguments end with 2 and say what is expected: ${args.join(' ')}`, async (t) => {
    t.match(await runPhones(...args), { code: 2, stdout: '', stderr: complaint });
  });
}

t.test('help and version end with 0', async (t) => {
  const [help, version] = await Promise.all([runPhones('run', '--help'), runPhones('--version')]);
  t.match(help, { code: 0, stdout: /--poll <url>[^]*--duration <s>[^]*Exit code 0/ });
  t.match(version, { code: 0, stdout: /^\d+\.\d+\.\d+/ });
});

t.test('the plain service runs as a process and is driven over HTTP or standard input', async (t) => {
  const args = ['--port', '0', '--write', '{"realm":"demo"}', '--polls'];
  const program = await startProcess('plain service', [process.execPath, SERVICE, ...args]);
  t.teardown(() => program.stop());
  const { service, admin } = program.ready;
  const listen = ['--contact-listen', '127.0.0.1:0', '--contact-gap', '0'];
  const phones = await startPhones(t, '--startup', '--service', String(service), ...listen);
  await program.line((line) => line['reason'] === 'start-up');

  const post = (path: string, body: unknown): Promise<Response> =>
    fetch(`${String(admin)}/devices/${path}`, { method: 'POST', body: JSON.stringify(body) });
  const wait = await post(`${DEVICE}/actions?contact&wait`, [{ action: 'ReadItems', items: { realm: '' } }]);
  t.match(await wait.json(), [{ status: 'accepted', items: [{ name: 'realm', value: 'demo' }] }]);
  const known = await fetch(`${String(admin)}/devices`);
  t.match(await known.json(), [{ deviceId: DEVICE, queued: 0, startUps: 1 }]);
  t.equal((await post('00:00:00:00:00:99/contact', {})).status, 502);
  t.equal((await post(`${DEVICE}/actions`, {})).status, 400);
  t.equal((await fetch(`${String(admin)}/devices/none`)).status, 404);

  program.tell('nonsense');
  await program.line(says('error'));
  const actions = [{ action: 'WriteItems', items: { realm: 'typed' } }];
  program.tell(JSON.stringify({ device: DEVICE, actions, contact: true }));
  await phones.line(({ msg, items }) => msg === 'items-written' && String(items) === 'realm');
  await program.line((line) => line.msg === 'result' && line['action'] === 'WriteItems');
  for (const one of [phones, program]) {
    one.signal('SIGTERM');
    t.equal(await one.exited, 0);
  }
});
