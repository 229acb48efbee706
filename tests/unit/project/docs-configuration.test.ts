import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { proxySchema } from '../../../proxy/config-schema.ts';
import { loadProxyConfig } from '../../../proxy/config.ts';
import { DEFAULT_POLL_LIMITS } from '../../../proxy/poll/limits.ts';
import { DEFAULT_API_LIMITS } from '../../../relay-client/api/limits.ts';
import { DEFAULT_CATCHER_LIMITS } from '../../../relay-client/catcher/limits.ts';
import { COURIER_LIMITS } from '../../../relay-client/courier/limits.ts';
import { relaySchema } from '../../../relay-client/config-schema.ts';
import { loadRelayConfig } from '../../../relay-client/config.ts';
import { DEFAULT_OUTBOX_LIMITS } from '../../../relay-client/outbox/outbox.ts';
import { TCP_LIMITS } from '../../../relay-client/services/config.ts';
import { WPI_LIMITS } from '../../../relay-client/services/limits.ts';
import { DEFAULT_WATCHER_LIMITS } from '../../../relay-client/watcher/limits.ts';
import { DEFAULT_WEBHOOK_LIMITS } from '../../../relay-client/webhooks/config.ts';
import { fieldsOf } from '../../fixtures/config-fields.ts';
import { blocksOf, grouped, readDocument, tableUnder } from '../../fixtures/documents.ts';

const page = readDocument('docs/configuration.md');

const yamlOf = (document: string, under = ''): string[] =>
  blocksOf(document.slice(document.indexOf(under)))
    .filter(({ language }) => language === 'yaml')
    .map(({ text }) => text);

for (const [program, schema] of [
  ['proxy', proxySchema],
  ['relay', relaySchema],
] as const) {
  t.test(`docs/configuration.md lists exactly the ${program}'s fields, with their defaults`, async (t) => {
    const documented = [
      ...tableUnder(page, `### Fields of the ${program}`),
      ...tableUnder(page, `### Limits of the ${program}`),
    ].map(([path = '', preset = '']) => `${path} = ${preset}`);
    const fields = fieldsOf(schema((path) => path)).map(({ path, preset }) => `${path} = ${preset}`);
    t.same(documented.toSorted(), fields.toSorted());
  });
}

t.test('what is not offered yet is said so, in README too, and nothing else', async (t) => {
  const fields = [proxySchema, relaySchema].flatMap((schema) => fieldsOf(schema((path) => path)));
  const closed = fields.filter((field) => field.closed).map(({ path }) => path);
  const rows = ['proxy', 'relay'].flatMap((program) => tableUnder(page, `### Fields of the ${program}`));
  t.same(
    rows.filter(([, , meaning]) => meaning?.endsWith('so far')).map(([path]) => path),
    closed,
  );
  const readme = readDocument('README.md');
  const [section = ''] = readme.slice(readme.indexOf('\nNot yet')).split('\n## ');
  const named = [...section.matchAll(/`(\w+)`/g)].map(([, word = '']) => word);
  const names = (paths: string[]): string[] => paths.map((path) => path.split('.').at(-1) ?? path);
  t.same(
    named.filter((word) => names(fields.map(({ path }) => path)).includes(word)).toSorted(),
    names(closed).toSorted(),
  );
});

t.test('docs/configuration.md lists exactly the limits that are fixed', async (t) => {
  /** Limits that the configs set. */
  const set = {
    poll: ['connections', 'requestsPerConnection', 'headerMs', 'idleMs'],
    outbox: ['messages', 'perDevice'],
    watcher: ['newDevicesPerMinute'],
  };
  const without = (limits: object, names: string[]): [string, number][] =>
    Object.entries(limits as Record<string, number>).filter(([name]) => !names.includes(name));
  const tables: [string, [string, number][]][] = [
    ['### Poll door', without(DEFAULT_POLL_LIMITS, set.poll)],
    ['### `wpi` services', without(WPI_LIMITS, [])],
    ['### `tcp` services', without(TCP_LIMITS, [])],
    ['### Watcher', without(DEFAULT_WATCHER_LIMITS, set.watcher)],
    ['### Courier', without(COURIER_LIMITS, [])],
    ['### Outbox', without(DEFAULT_OUTBOX_LIMITS, set.outbox)],
    ['### API', without(DEFAULT_API_LIMITS, [])],
    ['### Webhooks', without(DEFAULT_WEBHOOK_LIMITS, [])],
    ['### Catcher', without(DEFAULT_CATCHER_LIMITS, [])],
  ];
  for (const [heading, limits] of tables) {
    t.same(
      tableUnder(page, heading).map(([name, value]) => [name, value]),
      limits.map(([name, value]) => [name, grouped(value)]),
      heading,
    );
  }
});

/** A directory with every file that the documents' configs name. */
function filesFor(t: Tap): string {
  const names = ['poll', 'old', 'proxy', 'phones'].flatMap((name) => [`${name}.pem`, `${name}.key`]);
  return t.testdir(
    Object.fromEntries([...names, 'ca.pem', 'relay.key', 'api.token'].map((name) => [name, ''])),
  );
}
type Tap = { testdir(files: Record<string, string>): string };

t.test('the configs that documents show are taken', async (t) => {
  const dir = filesFor(t);
  const write = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const [proxy = ''] = yamlOf(page, '## sallyport-proxy');
  t.equal(loadProxyConfig(write('proxy.yaml', proxy)).doors.length, 3);
  const [relay = ''] = yamlOf(page, '## sallyport-relay');
  t.equal(loadRelayConfig(write('relay.yaml', relay)).services.length, 2);
  const parts = ['docs/services.md', 'docs/source-addresses.md', 'docs/warnings.md'].flatMap((each) =>
    yamlOf(readDocument(each)),
  );
  t.ok(parts.length > 0);
  const { services: shownFirst, ...rest } = parse(relay) as { services: object[] };
  // What is shown for source addresses makes sense only where there are some.
  const services = [{ ...shownFirst[0], source_addresses: '10.99.0.0/16' }, ...shownFirst.slice(1)];
  for (const part of parts) {
    const shown = parse(part) as object;
    const whole = /^# part of a service/.test(part)
      ? { ...rest, services: [{ ...services[0], ...shown }] }
      : { ...rest, services, ...shown };
    t.ok(loadRelayConfig(write('part.yaml', stringify(whole))).services.length > 0);
  }
});
