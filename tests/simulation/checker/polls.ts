import type { Milliseconds } from '../../../shared/clock.ts';
import type { Plan } from '../world/plan.ts';
import { Copy } from './copy.ts';
import type { Fact, Judge } from './facts.ts';
import type { OutboxJudge } from './outbox.ts';

type Breach = (promise: string, why: string) => void;

const QUIET_BUDGET_MS = 120_000;
/** What delay of frames may add to a quiet as a proxy sees it. */
const QUIET_SLACK_MS = 3_000;
/** A `loud` that a lost link did not get through is missed for as long as it takes to notice. */
const LOSS_MS = 12_000;
/** From the service's going down: trying it takes 5 s and 10 s, noticing silence 10 s. */
const DOWN_MS = 30_000;

/** What polls are told: P2, P3, P4 (snapshots), P8, P10 (marks), P15, P16. */
export function createPollJudge(plan: Plan, outbox: OutboxJudge): Judge {
  const copies = new Map<string, Copy>();
  const quiets = createQuietSums();
  const unseen: { id: string; proxy: string }[] = [];
  let downSince: Milliseconds | null = null;
  let run = 0;

  function poll(fact: Extract<Fact, { what: 'poll' }>, now: Milliseconds, breach: Breach): void {
    const { proxy, device, status, changed } = fact;
    if (changed !== null) breach('P3', `a poll of ${device} at ${proxy} changed ${changed}`);
    const copy = copies.get(proxy);
    if (copy === undefined) return;
    const long = downSince !== null && now - downSince > DOWN_MS;
    if (long && status === 202 && !copy.holdsActions(device)) {
      breach('P16', `a poll of ${device} at ${proxy} is told 202 long after the service went down`);
    }
    const { status: must, promise, why } = copy.expect(device, now);
    if (must === null || must === status) return;
    // Where sessions are few, whose turn it is is the proxy's to say.
    if (must === 202 && plan.maxSessions < plan.devices.length) return;
    breach(promise, `a poll of ${device} at ${proxy} is told ${status}, but ${why}`);
  }

  return {
    take(fact, now, breach) {
      switch (fact.what) {
        case 'relay-began':
          if (fact.relay === 'hq-1') run = fact.run;
          return;
        case 'proxy-began':
          copies.set(fact.proxy, new Copy(fact.proxy, plan.gapMs));
          return;
        case 'proxy-ended':
          copies.delete(fact.proxy);
          quiets.stop(fact.proxy, null, now, breach);
          return;
        case 'link-made':
          return copies.get(fact.proxy)?.linkMade(fact.link, fact.run, now);
        case 'link-over':
          copies.get(fact.proxy)?.linkOver(fact.link);
          return quiets.lost(fact.proxy);
        case 'stream-lane':
          return copies.get(fact.proxy)?.streamLane(fact.link, fact.open);
        case 'frame': {
          const copy = copies.get(fact.proxy);
          const told = copy?.frame(fact.link, fact.text, now);
          if (copy === undefined || told === undefined || told === null) return;
          if (told.type === 'quiet') {
            quiets.start(
              `${copy.serves()} ${told.device} ${told.generation}`,
              fact.proxy,
              told.device,
              told.ms,
              now,
              breach,
            );
          } else if (told.type === 'loud') quiets.stop(fact.proxy, told.device, now, breach);
          else if (told.type === 'hello') quiets.stop(fact.proxy, null, now, breach);
          return;
        }
        case 'service':
          downSince = fact.up ? null : (downSince ?? now);
          return;
        case 'held-by': {
          for (const url of fact.proxies) {
            const copy = [...copies.values()].find(({ proxy }) => url === `wss://${proxy}`);
            if (copy === undefined || copy.serves() !== fact.run || copy.saw(fact.message)) continue;
            unseen.push({ id: fact.message, proxy: copy.proxy });
          }
          return;
        }
        case 'poll':
          return poll(fact, now, breach);
        default:
      }
    },
    end(now, breach) {
      quiets.stop(null, null, now, breach);
      for (const { id, proxy } of unseen) {
        if (!outbox.ended(id))
          breach('P2', `${proxy} was said to hold message ${id}, which it was never told of`);
      }
      const held = outbox.held(run).map(({ id }) => id);
      for (const copy of copies.values()) {
        const there = copy.ids();
        const more = there.filter((id) => !held.includes(id));
        const less = held.filter((id) => !there.includes(id));
        if (more.length + less.length === 0) continue;
        breach(
          'P4',
          `at rest ${copy.proxy} holds ${more.length} messages that the relay does not, and lacks ${less.length}`,
        );
      }
    },
  };
}

/** How long each generation of a device was kept quiet at a proxy, in all. */
function createQuietSums() {
  const sums = new Map<string, Milliseconds>();
  const open = new Map<string, { sum: string; since: Milliseconds; until: Milliseconds }>();
  const losses = new Map<string, number>();

  function close(key: string, now: Milliseconds, breach: Breach): void {
    const span = open.get(key);
    if (span === undefined) return;
    open.delete(key);
    const total = (sums.get(span.sum) ?? 0) + Math.max(0, Math.min(now, span.until) - span.since);
    sums.set(span.sum, total);
    const proxy = key.split(' ')[0] ?? '';
    const allowed = QUIET_BUDGET_MS + QUIET_SLACK_MS + LOSS_MS * (losses.get(proxy) ?? 0);
    if (total > allowed) breach('P8', `${key}: quiet for ${total} ms within one generation`);
  }

  return {
    start(
      about: string,
      proxy: string,
      device: string,
      ms: Milliseconds,
      now: Milliseconds,
      breach: Breach,
    ): void {
      const key = `${proxy} ${device}`;
      close(key, now, breach);
      open.set(key, { sum: `${proxy} ${about}`, since: now, until: now + Math.min(ms, QUIET_BUDGET_MS) });
    },
    /** @param proxy - null = all */
    stop(proxy: string | null, device: string | null, now: Milliseconds, breach: Breach): void {
      for (const key of [...open.keys()]) {
        const [at, whose] = key.split(' ');
        if ((proxy === null || at === proxy) && (device === null || whose === device))
          close(key, now, breach);
      }
    },
    lost: (proxy: string): void => void losses.set(proxy, (losses.get(proxy) ?? 0) + 1),
  };
}
