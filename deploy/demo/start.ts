/**
 * The main job on loopback, told line by line. Everything is a process of its own:
 *
 *   phones ──→ proxy ←── relay ──→ plain service        (a service that knows nothing of the gate)
 *   phones ──→ proxy ←── service with the relay inside  (a service written with the SDK)
 *
 *     npm start                 the story, then up until ^C
 *     npm start -- --once       the story; exit 0 when all of it came true, else 1
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parse, stringify } from 'yaml';
import { describeError } from '../../shared/errors.ts';
import { runProgram, startProcess, startProgram } from '../../tests/fixtures/program.ts';
import type { LogLine, Program, ProgramName } from '../../tests/fixtures/program.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `npm start -- [--once]

Runs the whole gate on loopback and tells its story.

  --once   end after one story: exit 0 if all of it came true, 1 otherwise
`;
const { once } = readArguments(
  () => parseArgs({ options: { once: { type: 'boolean', default: false } } }),
  HELP,
).values;

/** A step that takes longer has failed. */
const STEP_MS = 20_000;
const POLL_S = '1';

const dir = await mkdtemp(join(tmpdir(), 'sallyport-demo-'));
const running: Program[] = [];
let step = 0;

function tell(text: string): void {
  process.stdout.write(`${text}\n`);
}

function told(who: string, text: string): void {
  step += 1;
  tell(`${String(step).padStart(3)}  ${who.padEnd(10)} ${text}`);
}

async function command(name: ProgramName, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(name, args);
  if (code !== 0) throw new Error(`${name} ${args[0] ?? ''} ended with ${code}: ${stderr.trim()}`);
  return stdout.trim();
}

async function start(starting: Promise<Program>): Promise<Program> {
  const program = await starting;
  running.push(program);
  return program;
}

const script = (path: string): string[] => [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  fileURLToPath(new URL(path, import.meta.url)),
];

interface ProxyReady {
  poll: string[];
  doors: Record<string, string>;
}

async function startProxy(): Promise<{ config: string; ready: ProxyReady }> {
  const home = join(dir, 'proxy');
  const config = join(home, 'proxy.yaml');
  await command('sallyport-proxy', ['init', home]);
  const written = {
    poll: [{ listen: '127.0.0.1:0' }],
    doors: [
      { name: 'plain', service: 'wpi', listen: '127.0.0.1:0', tls: 'relay' },
      { name: 'embedded', service: 'wpi', listen: '127.0.0.1:0', tls: 'relay' },
    ],
    relay: { listen: '127.0.0.1:0', tls: { cert: 'proxy.pem', key: 'proxy.key' }, state: './state' },
    sites: [
      { name: 'plain', poll_prefixes: ['/dcmp/'], doors: ['plain'], session_gap_s: 0 },
      { name: 'embedded', poll_prefixes: ['/sdk/'], doors: ['embedded'], session_gap_s: 0 },
    ],
    ops: { listen: '127.0.0.1:0' },
  };
  await writeFile(config, stringify(written));
  const proxy = await start(startProgram('sallyport-proxy', ['run', '--config', config]));
  // The port is known now; invites name it.
  await writeFile(
    config,
    stringify({ ...written, relay: { ...written.relay, listen: proxy.ready['relay'] } }),
  );
  return { config, ready: proxy.ready as unknown as ProxyReady };
}

/** Invites a relay, lets it join, and fills in its config; resolves to the config's path. */
async function joinRelay(
  proxyConfig: string,
  site: string,
  settings: Record<string, unknown>,
): Promise<string> {
  const home = join(dir, `relay-${site}`);
  const invite = await command('sallyport-proxy', [
    'invite',
    `relay-${site}`,
    '--site',
    site,
    '--config',
    proxyConfig,
  ]);
  await command('sallyport-relay', ['join', invite.split('\n').at(-1)!, '--dir', home]);
  const config = join(home, 'relay.yaml');
  const joined = parse(await readFile(config, 'utf8')) as Record<string, unknown>;
  // What phones are shown when they call: a certificate of the relay host's own. Here the proxy's will do.
  await writeFile(join(home, 'shown.pem'), await readFile(join(dir, 'proxy', 'proxy.pem')));
  await writeFile(join(home, 'shown.key'), await readFile(join(dir, 'proxy', 'proxy.key')), { mode: 0o600 });
  await writeFile(config, stringify({ ...joined, ...settings }));
  return config;
}

function startPhone(mac: string, poll: string, service: string): Promise<Program> {
  const words = ['run', '--mac', mac, '--poll', poll, '--service', service, '--interval', POLL_S];
  const telling = ['--spread', '0', '--startup', '--json', '--events', '--progress', '0'];
  return startProcess('phone', [...script('../../tests/phones/main.ts'), ...words, ...telling], {
    ready: () => true,
  });
}

interface Phone {
  mac: string;
  program: Program;
}

/** Follows one phone from "nothing to do" to "nothing to do". `push` is how its service calls it. */
async function story(
  { mac, program: phone }: Phone,
  push: () => Promise<string>,
  cleared: () => Promise<string>,
): Promise<void> {
  const name = mac.slice(-5);
  const seen = (from: number, what: string, test: (line: LogLine) => boolean): Promise<LogLine> => {
    const fresh = (line: LogLine): boolean => phone.lines.indexOf(line) >= from && test(line);
    return phone.line(fresh, STEP_MS).catch((error: unknown) => {
      throw new Error(`phone ${mac}: ${what} did not happen: ${describeError(error)}`);
    });
  };
  const poll = (status: number) => (line: LogLine) => line.msg === 'poll' && line['status'] === status;
  await seen(0, 'its start-up session', ({ msg, reason }) => msg === 'session' && reason === 'start-up');
  told(`phone ${name}`, 'starts up: its session passes the gate, the service greets it');
  await seen(0, 'poll 200', poll(200));
  told(`phone ${name}`, 'polls: 200, nothing to do');
  const from = phone.lines.length;
  told('service', `${await push()}`);
  await seen(from, 'poll 202', poll(202));
  told(`phone ${name}`, 'polls: 202, call home');
  const session = await seen(
    from,
    'a solicited session',
    ({ msg, reason }) => msg === 'session' && reason === 'solicited',
  );
  if (session['outcome'] !== 'completed')
    throw new Error(`the session of ${mac} ended ${String(session['outcome'])}`);
  told(`phone ${name}`, 'calls: solicited session through the gate, settings written, CleanUp');
  told('relay', await cleared());
  const after = phone.lines.length;
  await seen(after, 'poll 200 again', poll(200));
  told(`phone ${name}`, 'polls: 200, nothing to do');
}

async function main(): Promise<string[]> {
  tell('Sallyport on loopback: phones poll a proxy, two services inside dial out to it.\n');
  const { config: proxyConfig, ready } = await startProxy();
  const doors = Object.values(ready.doors).join(' and ');
  told('proxy', `answers polls on http://${ready.poll[0]}/, takes sessions on ${doors}`);

  const plainWords = [...script('../../tests/fixtures/services/plain-main.ts'), '--port', '0'];
  const plain = await start(startProcess('plain service', plainWords));
  told('service', 'a plain one, over HTTPS, that has never heard of the gate');
  const relay = await start(
    startProgram('sallyport-relay', [
      'run',
      '--config',
      await joinPlain(proxyConfig, String(plain.ready['service'])),
    ]),
  );
  await relay.line(({ msg }) => msg === 'link up', STEP_MS);
  told('relay', 'has dialled out to the proxy: the link is up, nothing dials in');
  await tellPlainStory(
    plain,
    await phoneOf(ready, '/dcmp/', 'plain', '00:1A:E8:00:00:01'),
    String(relay.ready['api']),
  );

  tell('');
  const embeddedConfig = await joinRelay(proxyConfig, 'embedded', {
    services: [{ name: 'wpi', kind: 'wpi', tls: SHOWN, upstream: 'http://127.0.0.1:1' }],
    api: { listen: '127.0.0.1:0' },
  });
  const embedded = await start(
    startProcess('embedded service', [...script('embedded-service.ts'), embeddedConfig]),
  );
  told('service', 'one written with the SDK: the relay is inside it, and it has dialled out by itself');
  await tellEmbeddedStory(embedded, await phoneOf(ready, '/sdk/', 'embedded', '00:1A:E8:00:00:02'));
  return [String(relay.ready['api']), String(embedded.ready['api'])];
}

const SHOWN = { cert: 'shown.pem', key: 'shown.key' };

function joinPlain(proxyConfig: string, upstream: string): Promise<string> {
  return joinRelay(proxyConfig, 'plain', {
    services: [{ name: 'wpi', kind: 'wpi', tls: SHOWN, upstream, upstream_tls: { verify: false } }],
    contact_me: { listen: '127.0.0.1:0' },
    api: { listen: '127.0.0.1:0' },
  });
}

async function phoneOf(ready: ProxyReady, prefix: string, door: string, mac: string): Promise<Phone> {
  const program = await startPhone(mac, `http://${ready.poll[0]}${prefix}`, ready.doors[door]!);
  running.push(program);
  return { mac, program };
}

function tellPlainStory(plain: Program, phone: Phone, api: string): Promise<void> {
  return story(
    phone,
    async () => {
      const actions = [{ action: 'WriteItems', items: { realm: 'changed' } }];
      plain.tell(JSON.stringify({ device: phone.mac, actions, contact: true }));
      const contact = await plain.line(({ msg }) => msg === 'contact-me', STEP_MS);
      return `contacts the phone as it always does; the relay catches it (${String(contact['status'])}) and pushes`;
    },
    async () => {
      const response = await fetch(`http://${api}/v1/devices/${phone.mac}/messages`);
      const { messages } = (await response.json()) as { messages: { state: string; ended_by: string }[] };
      const [newest] = messages;
      if (newest?.state !== 'cleared')
        throw new Error(`the message of ${phone.mac} is ${String(newest?.state)}`);
      return `saw the service finish: cleared by the ${newest.ended_by}`;
    },
  );
}

function tellEmbeddedStory(embedded: Program, phone: Phone): Promise<void> {
  return story(
    phone,
    async () => {
      embedded.tell(`push ${phone.mac}`);
      const pushed = await embedded.line(({ msg }) => msg === 'pushed', STEP_MS);
      return `pushes from its own code: held as generation ${String(pushed['generation'])}`;
    },
    async () => {
      const { by } = await embedded.line(({ msg }) => msg === 'cleared', STEP_MS);
      return `inside the service: cleared by the ${String(by)}`;
    },
  );
}

async function untilInterrupted(): Promise<void> {
  const ended = running.map(async (program) => {
    await program.exited;
    throw new Error('one of the processes ended by itself');
  });
  const interrupted = new Promise<void>((resolve) => {
    process.once('SIGINT', resolve).once('SIGTERM', resolve);
  });
  await Promise.race([interrupted, ...ended]);
}

try {
  const apis = await main();
  tell(
    `\nEverything came true. Dashboard: http://${apis[0]}/   (of the service with the relay inside: http://${apis[1]}/)`,
  );
  if (!once) {
    tell('Call the first phone once more:');
    tell(
      `  curl -X POST -H 'content-type: application/json' -d '{}' http://${apis[0]}/v1/devices/00:1A:E8:00:00:01/messages`,
    );
    tell('Up until ^C.');
    await untilInterrupted();
  }
} catch (error) {
  tell(`\nfailed: ${describeError(error)}`);
  process.exitCode = 1;
} finally {
  await Promise.all(running.map((program) => program.stop()));
  await rm(dir, { recursive: true, force: true });
}
