import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { proxyChecks } from '../../../proxy/doctor/checks.ts';
import { createMetrics } from '../../../proxy/metrics.ts';
import type { MeasuredParts } from '../../../proxy/metrics.ts';
import { CUT_REASONS } from '../../../proxy/poll/counters.ts';
import type { CutReason } from '../../../proxy/poll/counters.ts';
import { statusOf } from '../../../relay-client/api/errors.ts';
import { relayChecks } from '../../../relay-client/doctor/checks.ts';
import { createRelayMetrics } from '../../../relay-client/metrics.ts';
import type { ServiceEvent } from '../../../relay-client/services/metrics.ts';
import type { LessonResult } from '../../../relay-client/teacher/teacher.ts';
import type { SessionOutcome } from '../../../relay-client/watcher/session-events.ts';
import { WARNINGS } from '../../../relay-client/warnings/kinds.ts';
import { systemClock } from '../../../shared/clock.ts';
import { ERROR_CODES } from '../../../shared/errors.ts';
import { readDocument, ROOT, tableUnder } from '../../fixtures/documents.ts';
import { readModules } from '../../fixtures/project/imports.ts';

t.test('docs/errors.md lists exactly the codes that there are, with their HTTP status', async (t) => {
  const rows = tableUnder(readDocument('docs/errors.md'), '# Errors');
  t.same(
    rows.map(([code]) => code),
    [...ERROR_CODES],
  );
  for (const [code = '', status = ''] of rows) {
    const answered = statusOf(code as (typeof ERROR_CODES)[number]);
    // Anything may become a 500; it is written only where the API is where the code is at home.
    if (answered === 500) t.ok(['', '500'].includes(status), code);
    else t.equal(status, String(answered), code);
  }
});

t.test('no code is listed that nothing uses', async (t) => {
  const sources = readModules(ROOT, ['proxy/', 'relay-client/', 'shared/'])
    .filter(({ file }) => file !== 'shared/errors.ts')
    .map(({ file }) => readFileSync(join(ROOT, file), 'utf8'))
    .join('\n');
  for (const code of ERROR_CODES) t.ok(sources.includes(`'${code}'`), code);
});

const page = readDocument('docs/metrics.md');

/** Names and types that an exposition declares. */
const declared = (text: string): string[] =>
  [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => `${name} ${type}`);

const listed = (heading: string, prefix = ''): string[] =>
  tableUnder(page, heading).map(([name = '', type = '']) => `${prefix}${name} ${type}`);

t.test("docs/metrics.md lists exactly the relay's metrics", async (t) => {
  const { text } = createRelayMetrics({
    outbox: {
      counts: () => Promise.resolve({ held: 0, accepted: 0, ended: {} }),
      sequence: () => 0,
    } as unknown as Parameters<typeof createRelayMetrics>[0]['outbox'],
    links: () => [],
    services: () => [],
    running: () => 0,
    limit: 1,
    polling: () => ({ heard: 0, late: 0 }),
    webhooks: () => [],
    clock: systemClock,
  });
  const own = listed('## Of the relay');
  const process = listed('## Of each process', 'sallyport_relay_');
  t.same(declared(await text()).toSorted(), [...own, ...process].toSorted());
});

t.test("docs/metrics.md lists exactly the proxy's metrics", async (t) => {
  const { text } = createMetrics({
    pollDoor: {
      stats: () => ({
        answers: {},
        cut: {},
        connections: { open: 0 },
        unknown: { polls: 0 },
        wrongSecret: 0,
        workers: { replaced: 0 },
      }),
      siteStats: () => ({ 200: 2, 202: 1, open: 4, refused: 5 }),
    },
    relayDoor: { refused: () => ({}), fenced: () => 0, taken: () => [] },
    sessionDoors: () => [],
    sites: [],
    marks: { stats: () => ({ known: 0, bytes: 0 }) },
    certificates: () => [],
    clock: systemClock,
  } as unknown as MeasuredParts);
  const own = listed('## Of the proxy');
  const process = listed('## Of each process', 'sallyport_proxy_');
  t.same(declared(await text()).toSorted(), [...own, ...process].toSorted());
});

t.test('docs/metrics.md lists exactly the values of labels', async (t) => {
  // The compiler refuses a record that lacks a word of its type, or has another.
  const outcomes: Record<SessionOutcome, true> = {
    completed: true,
    busy: true,
    again: true,
    overloaded: true,
    refused: true,
    'phone-clean-up': true,
    'service-error': true,
    cut: true,
  };
  const lessons: Record<LessonResult, true> = { taught: true, refused: true, busy: true, cut: true };
  const events: Record<ServiceEvent, true> = {
    connection: true,
    connection_refused: true,
    handshake_failed: true,
    request: true,
    request_refused: true,
    upstream_refused: true,
    upstream_timeout: true,
    upstream_cut: true,
    phone_cut: true,
    address_unknown: true,
    address_refused: true,
  };
  const reasons: readonly CutReason[] = CUT_REASONS;
  const words = (heading: string): (string | undefined)[] => tableUnder(page, heading).map(([word]) => word);
  t.same(words('### Outcomes of sessions'), Object.keys(outcomes));
  t.same(words('### Results of teaching'), Object.keys(lessons));
  t.same(words('### Events of services'), Object.keys(events));
  t.same(words('### Why poll connections are cut'), reasons);
});

t.test('docs/warnings.md lists exactly the warnings', async (t) => {
  const rows = tableUnder(readDocument('docs/warnings.md'), '## What is warned of');
  t.same(
    rows.map(([word]) => word),
    Object.keys(WARNINGS),
  );
});

t.test('docs/doctor.md lists exactly the checks, in their order', async (t) => {
  const checked = relayChecks({
    file: 'relay.yaml',
    config: { proxies: [], services: [] } as unknown as Parameters<typeof relayChecks>[0]['config'],
    api: null,
    doors: [],
    clock: systemClock,
  });
  t.same(
    tableUnder(readDocument('docs/doctor.md'), '## Checks of the relay').map(([name]) => name),
    ['config', ...checked.map(({ name }) => name)],
  );
  const config = { doors: [], poll: [] } as unknown as Parameters<typeof proxyChecks>[0]['config'];
  t.same(
    tableUnder(readDocument('docs/doctor.md'), '## Checks of the proxy').map(([name]) => name),
    ['config', ...proxyChecks({ config, clock: systemClock, cores: 1 }).map(({ name }) => name)],
  );
});

t.test('docs/dependencies.md lists exactly the dependencies, with version and licence', async (t) => {
  const { dependencies } = JSON.parse(readDocument('package.json')) as {
    dependencies: Record<string, string>;
  };
  const rows = tableUnder(readDocument('docs/dependencies.md'), '# Dependencies');
  t.same(
    rows.map(([name, version]) => [name, version]),
    Object.entries(dependencies),
  );
  for (const [name = '', , licence] of rows) {
    const installed = JSON.parse(readDocument(`node_modules/${name}/package.json`)) as { license: string };
    t.equal(licence, installed.license, name);
  }
});
