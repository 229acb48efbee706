// runs alone: it holds both programs up for seconds at a time
import t from 'tap';
import { soakReport } from '../soak/report.ts';
import { soak } from '../soak/soak.ts';

/** Long enough for two faults, of which each is waited for until all is well again, on a busy machine, too. */
const OPTIONS = { minutes: 0.5, phones: 20, faultEveryMs: 4_000 };
/** What is soon over: a stopped program alone takes nine seconds. */
const BRIEF = [
  'the link is cut',
  "the service's connections are cut",
  'the relay is killed',
  'the proxy is killed',
];

t.test('a short soak ends in a verdict and a report', async (t) => {
  const lines: string[] = [];
  const result = await soak(t, { ...OPTIONS, faults: BRIEF, say: (line) => lines.push(line) });
  t.strictSame(result.verdict.wrong, [], 'all that is promised held');
  t.ok(Object.keys(result.faults).length >= 2, `faults took place: ${JSON.stringify(result.faults)}`);
  const { told, fleet, verdict } = result;
  t.ok(told.accepted.length > 20 && told.idlePolls > 100, 'there was a load');
  t.ok((fleet.sessionsBy['completed'] ?? 0) > 0, 'sessions were completed');
  t.ok(told.downloads.whole > 0, 'downloads came whole');
  t.ok(verdict.accepted >= told.accepted.length, `${verdict.accepted} accepted`);
  t.match(soakReport(result, OPTIONS), /All that is promised held/);
});
