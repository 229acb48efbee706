import t from 'tap';
import { createTapReader, type Outcome } from '../../runner/tap-tree.ts';

function read(text: string): Outcome[] {
  const reader = createTapReader();
  // Byte by byte, as a slow pipe might deliver it.
  for (const byte of text) reader.write(byte);
  return reader.end();
}
const summary = (text: string): string[] => read(text).map(({ kind, name }) => `${kind} ${name}`.trim());

t.test('a block without blocks is one test, however many assertions it holds', async (t) => {
  const text = `TAP version 14
# Subtest: outer
    # Subtest: inner
        ok 1 - first
        ok 2 - second
        1..2
    ok 1 - inner
    1..1
ok 1 - outer
1..1
`;
  t.same(summary(text), ['passed outer > inner']);
});

t.test('assertions beside blocks count only when they fail', async (t) => {
  const text = (own: string): string => `TAP version 14
# Subtest: inner
    ok 1 - fine
    1..1
ok 1 - inner
${own} 2 - beside
1..2
`;
  t.same(summary(text('ok')), ['passed inner']);
  t.same(summary(text('not ok')), ['passed inner', 'failed']);
});

t.test('skips and todos are named with their reasons at every level', async (t) => {
  const outcomes = read(`TAP version 14
ok 1 - whole # SKIP no moon
not ok 2 - later # TODO
# Subtest: block
    ok 1 - part # SKIP no sun
    ok 2 - rest
    1..2
ok 3 - block
1..3
`);
  t.same(
    outcomes.map(({ kind, name, detail }) => [kind, name, detail]),
    [
      ['skipped', 'block > part', 'no sun'],
      ['passed', 'block', ''],
      ['skipped', 'whole', 'no moon'],
      ['skipped', 'later', 'todo: no reason given'],
    ],
  );
});

t.test('a block that failed apart from its content is a failure', async (t) => {
  t.same(
    summary(`TAP version 14
# Subtest: block
    ok 1 - fine
    1..1
not ok 1 - block
1..1
`),
    ['failed block'],
  );
});

t.test('a file that ends before its plan is a failure', async (t) => {
  t.same(summary('TAP version 14\n1..2\nok 1 - fine\n'), ['passed', 'failed']);
});

t.test('a bail-out is a failure that keeps its reason', async (t) => {
  const outcomes = read('TAP version 14\nok 1 - fine\nBail out! the sky fell\n');
  t.ok(outcomes.some(({ kind, detail }) => kind === 'failed' && detail.includes('the sky fell')));
});

t.test('a failure tells where it was and what differed', async (t) => {
  const [outcome] = read(`TAP version 14
not ok 1 - same
  ---
  at:
    fileName: tests/a.test.ts
    lineNumber: 7
  diff: |
    -1
    +2
  ...
1..1
`);
  t.equal(outcome?.detail, '✗ same\n  at tests/a.test.ts:7\n  diff:\n    -1\n    +2');
});
