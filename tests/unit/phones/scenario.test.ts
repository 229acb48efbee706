import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runProgram } from '../../fixtures/program.ts';
import type { Finished } from '../../fixtures/program.ts';
import { startService } from './start.ts';
import { ownAddress } from '../../fixtures/ports.ts';

function scenario(t: Test, text: string, ...args: string[]): Promise<Finished> {
  const file = join(t.testdir({}), 'scenario.yaml');
  writeFileSync(file, text);
  return runProgram('sallyport-phones', ['scenario', file, ...args]);
}

t.test('all that is wrong with a scenario is named at once, with its line', async (t) => {
  const { code, stdout, stderr } = await scenario(
    t,
    `poll: nowhere
servise: 127.0.0.1:1
groups:
  all: {}
  some: { count: 0, cookie: crumbs, think_s: -1, tls: { min: SSLv3 } }
  more: { first: "00:1A:E8:00:00:01", count: 2 }
  same: { first: 001AE8000002 }
  odd: { first: "00:1A" }
steps:
  - start: some
  - dance: all
  - { poll: all, pause: 1 }
  - nothing
  - poll: nobody
  - pause: soon
  - push: [some, others]
  - expect: { of: some }
  - expect: { of: some, sessions: { completed: many } }
`,
  );
  t.equal(code, 2);
  t.equal(stdout, '');
  const lines = stderr.trim().split('\n').slice(1);
  for (const fault of [
    /:1: poll is "nowhere"; expected a poll base such as/,
    /:2: servise is "127.0.0.1:1"; expected no such field/,
    /:4: groups\.all is \{\}; expected another name/,
    /:5: groups\.some\.count is 0; expected at least 1/,
    /:5: groups\.some\.cookie is "crumbs"; expected one of whole, pair, none/,
    /:5: groups\.some\.think_s is -1; expected seconds, 0 or more/,
    /:5: groups\.some\.tls\.min is "SSLv3"; expected one of TLSv1/,
    /:7: groups\.same\.first is .*; expected phones that group more does not have/,
    /:8: groups\.odd\.first is "00:1A"; expected a MAC address/,
    /:10: steps\[0\]\.start is "some"; expected service as well/,
    /:11: steps\[1\]\.dance is "all"; expected no such verb; there are start, poll/,
    /:12: steps\[2\] is .*; expected one thing to do/,
    /:13: steps\[3\] is "nothing"; expected one thing to do/,
    /:14: steps\[4\]\.poll is "nobody"; expected groups that there are: all, some, more, same, odd/,
    /:15: steps\[5\]\.pause is "soon"; expected seconds/,
    /:16: steps\[6\]\.push is .*; expected groups that there are/,
    /:16: steps\[6\]\.push is .*; expected api as well/,
    /:17: steps\[7\]\.expect is .*nothing to expect/,
    /:18: steps\[8\]\.expect\.sessions\.completed is "many"; expected a whole number, or a map/,
  ]) {
    t.equal(lines.filter((line) => fault.test(line)).length, 1, String(fault));
  }
  t.equal(lines.length, 19, 'and nothing else');
  t.match(stderr, /has 19 faults:/);
});

t.test('what is no scenario at all is refused as well', async (t) => {
  for (const [text, why] of [
    ['groups: [', /scenario\.yaml:\d+: not readable as YAML/],
    ['groups: *nobody', /not readable as YAML/],
    ['- 1', /expected a map with groups and steps/],
    ['', /expected a map with groups and steps/],
    ['groups: {}\nsteps: []', /at least one group[^]*at least one step/],
  ] as const) {
    const { code, stderr } = await scenario(t, text);
    t.equal(code, 2, text);
    t.match(stderr, why);
  }
  t.match(await runProgram('sallyport-phones', ['scenario', '/nowhere.yaml']), {
    code: 2,
    stderr: /cannot read the scenario/,
  });
});

const ODD = `
groups:
  ordinary: { count: 2 }
  talking: { call_time_s: 0 }
  picky: { refuses: [realm] }
  absent: { comes: false }
steps:
  - start: all
  - expect: { of: all, sessions: { completed: { at_least: 1 } }, within_s: 0 }
  - call: talking
  - poll: all
  - expect: { of: ordinary, polls: { "200": 2 }, items: { realm: example }, within_s: 0 }
  - expect: { of: picky, items: { realm: example }, within_s: 0 }
  - expect: { of: [ordinary, absent], sessions: { completed: 7 }, last_poll: 202, within_s: 0 }
  - change: { of: picky, items: { realm: own } }
  - expect: { of: picky, items: { realm: own }, sessions: { completed: 2 } }
`;

t.test('steps are done in turn, and the report says what failed', async (t) => {
  const service = await startService(t, { answersPolls: true, startUpItems: { realm: 'example' } });
  const where = ['--poll', `${service.url}/dcmp/`, '--service', service.url];
  t.match(await scenario(t, ODD, '--check', ...where), { code: 0, stdout: /is fine: 4 groups, 9 steps\n$/ });
  const { code, stdout, stderr } = await scenario(t, ODD, ...where);
  t.equal(code, 1);
  t.equal(stderr, '');
  t.match(stdout, / 1 {2}start all +ok /);
  t.match(
    stdout,
    / 6 {2}expect picky +FAILED .*\n +line 13: picky: expected item realm as given, got another value at 00:1A:E8:00:00:04\n/,
  );
  t.match(
    stdout,
    / 7 {2}expect ordinary, absent +FAILED .*\n +line 14: ordinary: sessions completed: expected 7, got 2\n +line 14: ordinary: expected last_poll 202, got 200 at 00:1A:E8:00:00:01, 00:1A:E8:00:00:02\n/,
  );
  t.match(stdout, / 9 {2}expect picky +ok /, 'later steps are done all the same');
  t.match(stdout, /\nordinary: 2 phones, polls 200 2, sessions completed 2\n/);
  t.match(stdout, /\n2 of 9 steps failed\n$/);
  const json = await scenario(t, ODD, '--json', ...where);
  const last = JSON.parse(json.stdout.trim().split('\n').at(-1) ?? '') as unknown;
  t.match(last, {
    msg: 'done',
    steps: 9,
    failed: 2,
    left: 0,
    groups: [{ group: 'ordinary', sessions: { completed: 2 } }],
  });
});

t.test('a step that cannot be done has failed, and one without end too', async (t) => {
  const service = await startService(t, { answerDelayMs: 60_000 });
  const nobody = await ownAddress();
  const { code, stdout } = await scenario(
    t,
    `step_s: 0.2\ngroups: { one: {} }\nsteps: [{ push: one }, { poll: one }, { start: one }, { request: { url: "http://${nobody}/" } }]`,
    ...['--service', service.url, '--api', `http://${nobody}`],
  );
  t.equal(code, 1);
  t.match(stdout, /push one +FAILED .*\n.*ECONNREFUSED/);
  t.match(stdout, /poll one +FAILED .*\n.*no poll URL is configured or learnt/);
  t.match(stdout, /start one +FAILED .*\n.*not done after 0\.2 s/);
  t.match(stdout, /request POST .* +FAILED .*\n.*ECONNREFUSED/);
  t.match(stdout, /4 of 4 steps failed/);
});

t.test('the help teaches all fields and verbs', async (t) => {
  const { code, stdout } = await runProgram('sallyport-phones', ['scenario', '--help']);
  t.equal(code, 0);
  const { groupSchema, verbs } = await import('../../phones/scenario/schema.ts');
  for (const word of [
    ...Object.keys(groupSchema.shape),
    ...Object.keys(verbs),
    ...Object.keys(verbs.expect.shape),
  ]) {
    t.match(stdout, new RegExp(`\\b${word}\\b`), word);
  }
});
