import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { WARNINGS } from '../../../relay-client/warnings/kinds.ts';
import { readDocument, ROOT, tableUnder } from '../../fixtures/documents.ts';

interface Rule {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: { summary: string; do: string };
}

const RULES = 'deploy/prometheus/sallyport.rules.yml';
const TESTS = 'deploy/prometheus/sallyport.rules.test.yml';
const DASHBOARD = 'deploy/grafana/sallyport.json';

const { groups } = parse(readDocument(RULES)) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const page = readDocument('docs/metrics.md');
const named = (heading: string, prefix = ''): string[] =>
  tableUnder(page, heading).map(([name = '']) => `${prefix}${name}`);
const catalogue = new Set([
  ...named('## Of the relay'),
  ...named('## Of the proxy'),
  ...named('## Of each process', 'sallyport_relay_'),
  ...named('## Of each process', 'sallyport_proxy_'),
]);

t.test('rules, their tests and the dashboard name only metrics that there are', async (t) => {
  for (const file of [RULES, TESTS, DASHBOARD]) {
    const names = new Set(readDocument(file).match(/\bsallyport_[a-z0-9_]+/g));
    t.ok(names.size > 10, `${file} names metrics`);
    for (const name of names) t.ok(catalogue.has(name), `${file}: ${name}`);
    const kinds = [...readDocument(file).matchAll(/what=\\?"([a-z-]+)/g)].map(([, kind = '']) => kind);
    for (const kind of kinds) t.ok(kind in WARNINGS, `${file}: what="${kind}"`);
  }
});

t.test('docs/monitoring.md lists exactly the alerts, with their severity', async (t) => {
  t.same(
    tableUnder(readDocument('docs/monitoring.md'), '## Alerts').map(([alert, severity]) => [alert, severity]),
    rules.map(({ alert, labels }) => [alert, labels.severity]),
  );
  for (const { alert, annotations } of rules) {
    t.ok(
      annotations.summary.length > 10 && annotations.do.length > 10,
      `${alert} says what it is and what to do`,
    );
  }
});

t.test('each alert is tried where it must fire, and where it must not', async (t) => {
  const { tests } = parse(readDocument(TESTS)) as {
    tests: { alert_rule_test: { alertname: string; exp_alerts: object[] }[] }[];
  };
  const tried = tests.flatMap((each) => each.alert_rule_test);
  for (const { alert } of rules) {
    const own = tried.filter(({ alertname }) => alertname === alert);
    t.ok(
      own.some((each) => each.exp_alerts.length > 0),
      `${alert} fires`,
    );
    t.ok(
      own.some((each) => each.exp_alerts.length === 0),
      `${alert} keeps still`,
    );
  }
});

const skip = spawnSync('promtool', ['--version']).error === undefined ? false : 'no promtool here';

t.test('promtool finds rules and their tests right', { skip }, async (t) => {
  for (const args of [
    ['check', 'rules', RULES],
    ['test', 'rules', TESTS],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: join(ROOT), encoding: 'utf8' });
    t.equal(status, 0, `promtool ${args.join(' ')}\n${stdout}${stderr}`);
  }
});
