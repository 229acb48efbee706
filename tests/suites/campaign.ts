import type { Test } from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { createFleet, macAfter } from '../phones/index.ts';
import { until } from '../fixtures/until.ts';

const FIRST_MAC = '00:1A:E8:A0:00:01';
/** One in so many is in a call at first, and now and then. */
const BUSY = 20;
/** One in so many refuses what is written. */
const FAILING = 50;

interface Body {
  state: string;
  failed: boolean;
  results: { status: string; items: { name: string; status: string; value?: string }[] }[];
}

/** Delivers to so many phones, while both programs are killed once, and compares every result with what its phone has. */
export function campaign(t: Test, { phones, withinMs }: { phones: number; withinMs: number }): void {
  t.test(
    `a campaign to ${phones} phones survives kills of relay and proxy, and every result is right`,
    async (t) => {
      const gate = await startGate(t, {
        logLevel: 'info',
        proxy: { sites: [{ name: 'default', session_gap_s: 0, max_sessions: 5_000 }] },
      });
      const busy = (n: number): boolean => n % BUSY === 0;
      const failing = (n: number): boolean => n % FAILING === 7;
      let sessions = 0;
      let busySessions = 0;
      const kills: string[] = [];
      const restarts: Promise<unknown>[] = [];
      const killOnce = (name: 'relay' | 'proxy', start: () => Promise<unknown>): void => {
        if (kills.includes(name)) return;
        kills.push(name);
        gate[name].signal('SIGKILL');
        restarts.push(gate[name].exited.then(() => start()));
      };
      const fleet = createFleet({
        count: phones,
        firstMac: FIRST_MAC,
        concurrency: 100,
        service: gate.phoneService,
        pollUrl: gate.pollUrl,
        pollIntervalMs: 1_000,
        contactListen: false,
        answerTimeoutMs: 5_000,
        callDurationMs: 500,
        each: (n) => ({
          ...(busy(n) ? { busyChance: 0.7 } : {}),
          ...(failing(n) ? { failingItems: ['terminal-name'] } : {}),
        }),
        onEvent(event) {
          if (event.type !== 'session') return;
          sessions += 1;
          if (event.busy) {
            busySessions += 1;
            fleet.phone(event.deviceId)?.setInCall(false);
          }
          if (sessions >= phones * 0.3) killOnce('relay', gate.startRelay);
          if (sessions >= phones * 0.65) killOnce('proxy', gate.startProxy);
        },
      });
      t.teardown(() => fleet.close());

      const lines = Array.from({ length: phones }, (_, n) =>
        JSON.stringify({
          device: macAfter(FIRST_MAC, n),
          kind: 'dls',
          actions: [
            { action: 'WriteItems', items: [{ name: 'terminal-name', value: `room ${n}` }] },
            { action: 'ReadItems', items: ['terminal-name'] },
          ],
        }),
      );
      const pushed = await fetch(`${gate.api}/v1/messages?campaign=spring&canary=0.05&abort_at=0.5`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-ndjson' },
        body: lines.join('\n'),
      });
      const ids = (await pushed.text())
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { id: string }).id);
      t.equal(ids.length, phones);

      // The first calls last until they were told of: on a busy machine a session can take longer than any other.
      for (let n = 0; n < phones; n++) if (busy(n)) fleet.phone(macAfter(FIRST_MAC, n))?.setInCall(true);
      await fleet.start();
      const campaign = async (): Promise<Record<string, unknown>> =>
        (await gate.call('GET', '/v1/campaigns/spring').catch(() => ({ body: {} }))).body;
      await until('nothing of it is held', async () => (await campaign())['held'] === 0, withinMs);
      await Promise.all(restarts);

      t.same(kills, ['relay', 'proxy'], 'both were killed in the middle');
      t.ok(busySessions > 0, `${busySessions} sessions were busy`);
      const failed = Array.from({ length: phones }, (_, n) => n).filter(failing).length;
      t.match(await campaign(), {
        state: 'running',
        phase: 'all',
        total: phones,
        cleared: phones,
        failed,
        dead: 0,
        expired: 0,
      });
      const { body: status } = await gate.call('GET', '/v1/status');
      t.match(status['outbox'], { accepted: phones, held: 0, ended: { cleared: phones } }, 'each ended once');

      const wrong: number[] = [];
      for (const [n, id] of ids.entries()) {
        const message = (await gate.call('GET', `/v1/messages/${id}`)).body as unknown as Body;
        const [written, read] = message.results;
        const wanted = failing(n) ? 'failed' : 'accepted';
        const value = read?.items[0]?.value;
        const right =
          message.failed === failing(n) &&
          written?.items[0]?.status === wanted &&
          (failing(n) ? value !== `room ${n}` : value === `room ${n}`) &&
          fleet.phone(macAfter(FIRST_MAC, n))?.items.get('terminal-name') === value;
        if (!right) wrong.push(n);
      }
      t.same(wrong, [], 'every result is what the phone has');
    },
  );
}
