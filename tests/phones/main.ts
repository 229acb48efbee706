/** `sallyport-phones`: simulated phones on the command line. */
import { existsSync, readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, type OptionValues } from 'commander';
import { addRunOptions, addTlsOptions, fleetOf, number, pollUrl, tlsOf } from './cli-options.ts';
import type { PollFlags, RunFlags } from './cli-options.ts';
import { createDialer, type PhoneTls } from './dialer.ts';
import { createFleet, macAfter, type FleetOptions } from './fleet.ts';
import { pollOnce, pollRequest } from './poll.ts';
import { createReport } from './report.ts';
import { addScenario } from './scenario/command.ts';

/** Phones up to which each event gets a line of its own unless told otherwise. */
const EVENTS_UP_TO = 10;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const complain = (line: string): void => void process.stderr.write(`sallyport-phones: ${line}\n`);

function version(): string {
  for (let directory = new URL('.', import.meta.url); ; directory = new URL('..', directory)) {
    const file = new URL('package.json', directory);
    if (existsSync(file))
      return String((JSON.parse(readFileSync(file, 'utf8')) as { version?: string }).version);
    if (directory.pathname === '/') return 'unknown';
  }
}

/** Runs a fleet until its time is up or a signal comes. Resolves with the exit code. */
async function run(flags: RunFlags, options: FleetOptions): Promise<number> {
  const events = flags.events ?? flags.count <= EVENTS_UP_TO;
  const report = createReport(say, flags.json, events);
  const fleet = createFleet({ ...options, onEvent: (event) => report.event(event) });
  report.ready({ phones: flags.count, first: flags.mac, poll: flags.poll, service: flags.service });
  const timers: NodeJS.Timeout[] = [];
  const over = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    if (flags.duration > 0) timers.push(setTimeout(resolve, flags.duration * 1000));
  });
  if (flags.progress > 0) {
    timers.push(setInterval(() => report.stats(fleet.stats(), false), flags.progress * 1000));
  } else if (flags.duration === 0) timers.push(setInterval(() => undefined, 60_000));
  try {
    await Promise.race([over, fleet.start().then(() => over)]);
  } finally {
    for (const timer of timers) clearInterval(timer);
    report.stats(fleet.stats(), true);
    await fleet.close();
  }
  return flags.strict && fleet.stats().failures > 0 ? 1 : 0;
}

/** One poll; exit code 0 for the expected status (200 or 202 unless named), else 1. */
async function poll(flags: PollFlags, tls: PhoneTls): Promise<number> {
  const dialer = createDialer({
    tls,
    connectTimeoutMs: flags.timeout * 1000,
    answerTimeoutMs: flags.timeout * 1000,
  });
  const result = await pollOnce(dialer, pollRequest(flags.poll, flags.device), () => performance.now());
  dialer.close();
  const { status, reason, message, latencyMs } = result;
  const took = Math.round(latencyMs * 10) / 10;
  if (flags.json)
    say(JSON.stringify({ msg: 'poll', device: flags.device, status: status ?? null, reason, ms: took }));
  else if (status !== undefined) say(String(status));
  if (status === undefined) complain(`no answer: ${message ?? reason}`);
  const expected = flags.expect === undefined ? [200, 202] : [flags.expect];
  if (status !== undefined && !expected.includes(status))
    complain(`expected ${expected.join(' or ')}, got ${status}`);
  return status !== undefined && expected.includes(status) ? 0 : 1;
}

/** What is wrong with the arguments together ends like what is wrong with one of them. */
function checked<T>(command: Command, make: () => T): T {
  try {
    return make();
  } catch (error) {
    command.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function mac(text: string): string {
  try {
    return macAfter(text, 0) && text;
  } catch {
    throw new InvalidArgumentError('expected a MAC address such as 00:1A:E8:00:00:01');
  }
}

function commandLine(finish: (code: number) => void): Command {
  const program = new Command('sallyport-phones')
    .description(
      'Simulated OpenStage / OpenScape Desk Phones: they poll, open sessions and obey the service.',
    )
    .version(version())
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });
  const runCommand = program
    .command('run')
    .description('run one phone or thousands')
    .addHelpText(
      'after',
      `
Examples:
  sallyport-phones run --poll http://127.0.0.1:8080/dcmp/ --service 127.0.0.1:18443 --startup --interval 10
  sallyport-phones run --poll http://proxy:8080/dcmp/ --count 10000 --interval 60 --duration 300 --json

Ends with a line of totals. Exit code 0, or 1 with --strict when anything failed; 2 for wrong arguments.`,
    )
    .action(async (flags: OptionValues, command: Command) =>
      finish(
        await run(
          flags as RunFlags,
          checked(command, () => fleetOf(flags as RunFlags)),
        ),
      ),
    );
  addRunOptions(runCommand);
  const macOption = runCommand.options.find((option) => option.long === '--mac');
  macOption?.argParser(mac);
  addTlsOptions(
    program
      .command('poll')
      .description('poll once and print the status')
      .requiredOption('--poll <url>', 'poll base, e.g. http://proxy.example:8080/dcmp/', pollUrl)
      .requiredOption('--device <id>', 'device id as the phone registered it')
      .option('--expect <status>', 'the only status that counts as success', number(100, 599, true))
      .option('--timeout <s>', 'longest wait to connect and for the answer', number(0.1, 3600), 10)
      .option('--json', 'a JSON line', false),
  )
    .addHelpText('after', '\nExit code 0 for 200 or 202 (or --expect), 1 otherwise, 2 for wrong arguments.')
    .action(async (flags: OptionValues, command: Command) =>
      finish(
        await poll(
          flags as PollFlags,
          checked(command, () => tlsOf(flags as PollFlags)),
        ),
      ),
    );
  addScenario(program, finish);
  return program;
}

// `sallyport-phones run | head` ends when its reader does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  complain(`standard output cannot be written: ${error.message}`);
  process.exit(1);
});

try {
  await commandLine((code) => (process.exitCode = code)).parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    complain(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
