/** `sallyport-phones scenario`: options, help, and what is printed. */
import type { Command } from 'commander';
import { loadScenario, ScenarioError, type Overrides } from './load.ts';
import { runScenario, type GroupReport, type StepReport } from './run.ts';

type ScenarioFlags = Overrides & { apiTokenFile?: string; check: boolean; json: boolean };

const EXIT = { ok: 0, failed: 1, invalid: 2 } as const;

const HELP = `
A scenario is a YAML file: groups of phones that are alike, and steps that are done one after the other.

  poll: http://127.0.0.1:8080/dcmp/      # or --poll; may be left out where the service teaches it
  service: 127.0.0.1:18443               # or --service: where sessions go
  api: http://127.0.0.1:9470             # or --api: the relay's, for push and clear
  groups:
    ordinary: { count: 20 }
    talking: { count: 2, call_time_s: 1 }
    strict: { refuses: [realm] }
  steps:
    - start: all                         # start-up sessions
    - call: talking                      # they are in a call from now on
    - push: all                          # the relay is asked to call them
    - poll: all                          # each polls once; whoever is told 202 opens a session
    - hang_up: talking
    - expect: { of: ordinary, last_poll: 202, sessions: { completed: 40 } }
    - poll: { of: ordinary, until: 200 }   # their work is cleared
    - expect: { of: talking, sessions: { busy: { at_least: 1 } }, within_s: 5 }

What phones of a group are like, and what they are without it:
  count 1                 how many                     first               MAC of the first; else counted on
  interval_s 0            poll by timer; 0 = by step   interval_item       item by which the service sets it
  busy 0                  percent in a call            call_time_s 5       how long such a call lasts
  refuses []              items they do not take       fragment 0          split replies above N items
  close false             a connection per request     cookie whole        whole, pair or none
  chunked false           understand chunked answers   send_solicited true come again when idle (V3R3)
  think_s 0               pause before each reply      comes true          false: told 202, they call nobody
  forget true             restart drops the poll URL   poll_keep_alive false
  items {}                their settings               tls {}              min, max, ciphers: old firmware

Steps, each with one verb. GROUPS is all, a group, or a list of them:
  start, poll, restart, call, hang_up: GROUPS
  poll: { of: GROUPS, until: STATUS, within_s 10 }   again and again, until each is told that
  push, clear: GROUPS                  by the relay's API
  change: { of: GROUPS, items: {…} }   somebody changes settings at the phone
  request: { url, method POST, json, status 200 }   such as to tell your service what to do
  pause: SECONDS
  expect: { of: GROUPS, within_s 10, … } waits until it is true, and fails if it does not come true:
    polls, sessions       counts since the beginning, by status (200, 202) or outcome (completed, busy, or why it
                          failed); a number, or { at_least, at_most }
    last_poll             status of each phone's last poll
    poll_url              the poll address each phone has learnt; null = none
    items                 settings that each phone has

A step that takes longer than step_s (60, top of the file) has failed. Steps after a failed one are done all the same.
At the end there is a table of the groups and what failed.
Exit code 0, or 1 when a step failed, 2 for a scenario with faults: all of them are named.`;

export function addScenario(program: Command, finish: (code: number) => void): void {
  program
    .command('scenario')
    .description('play a scenario: groups of odd phones, steps, expectations')
    .argument('<file>', 'the scenario, YAML')
    .option('--poll <url>', 'poll base, in the place of what the file says')
    .option('--service <host:port>', 'where sessions go, likewise')
    .option('--api <url>', "the relay's API, likewise")
    .option('--api-token-file <file>', 'holds the token that the API wants')
    .option('--check', 'only look for faults', false)
    .option('--json', 'a JSON line for each step, and one at the end', false)
    .addHelpText('after', HELP)
    .action(async (file: string, flags: ScenarioFlags) => finish(await play(file, flags)));
}

async function play(
  file: string,
  { check, json, apiTokenFile, poll, service, api }: ScenarioFlags,
): Promise<number> {
  const given = { poll, service, api, api_token_file: apiTokenFile };
  const overrides = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  let scenario;
  try {
    scenario = loadScenario(file, overrides);
  } catch (error) {
    if (!(error instanceof ScenarioError)) throw error;
    process.stderr.write(`sallyport-phones: ${error.message}\n`);
    return EXIT.invalid;
  }
  if (check) {
    say(`${file} is fine: ${Object.keys(scenario.groups).length} groups, ${scenario.steps.length} steps`);
    return EXIT.ok;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const onStep = (step: StepReport): void =>
    say(json ? JSON.stringify({ msg: 'step', ...step }) : stepText(step));
  const { groups, failed, left, steps } = await runScenario(scenario, onStep, stop.signal);
  if (json) say(JSON.stringify({ msg: 'done', steps: steps.length, failed, left, groups }));
  else {
    say(`\n${groups.map(groupText).join('\n')}\n`);
    const omitted = left === 0 ? '' : `, ${left} left out`;
    say(
      failed === 0
        ? `all ${steps.length} steps came out as they should${omitted}`
        : `${failed} of ${steps.length} steps failed${omitted}`,
    );
  }
  return failed === 0 && left === 0 ? EXIT.ok : EXIT.failed;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function stepText({ step, line, what, failures, ms }: StepReport): string {
  const verdict = failures.length === 0 ? 'ok' : 'FAILED';
  const head = `${String(step).padStart(3)}  ${what.padEnd(40)} ${verdict.padEnd(6)} ${(ms / 1000).toFixed(1)} s`;
  return [head, ...failures.map((failure) => `     line ${line}: ${failure}`)].join('\n');
}

function groupText({ group, phones, polls, sessions }: GroupReport): string {
  return `${group}: ${phones} phones, polls ${counted(polls)}, sessions ${counted(sessions)}`;
}

function counted(counts: Record<string, number>): string {
  return (
    Object.entries(counts)
      .map(([kind, n]) => `${kind} ${n}`)
      .join(', ') || 'none'
  );
}
