import type { Judge } from './facts.ts';

/** Liveness: once all is well, every pending phone is called and its message completes. */
export function createCalmJudge(): Judge {
  const waiting = new Map<string, string>();
  const contents = new Map<number, 'courier' | 'session'>();
  const enders = new Map<string, 'courier' | 'session'>();
  const ended = new Map<string, string>();
  const asked = new Set<number>();
  let calm = false;

  return {
    take(fact, _now, breach) {
      switch (fact.what) {
        case 'calm':
          calm = true;
          return;
        case 'push-asked':
          if (calm) asked.add(fact.ask);
          contents.set(fact.ask, fact.push.actions === null ? 'session' : 'courier');
          return;
        case 'push-refused':
          if (asked.has(fact.ask) && fact.code !== 'OUTBOX_FULL') {
            breach('live', `a push was refused though all is well: ${fact.code}`);
          }
          return;
        case 'push-accepted':
          if (!asked.has(fact.ask)) return;
          waiting.set(fact.message.id, fact.message.device);
          enders.set(fact.message.id, contents.get(fact.ask) ?? 'session');
          return;
        case 'commit':
          for (const { message, event, why } of fact.events) {
            if (message !== null && event !== 'accepted') ended.set(message, `${event} by ${why}`);
          }
          return;
        default:
      }
    },
    settled: () => waiting.size > 0 && [...waiting.keys()].every((id) => ended.has(id)),
    end(_now, breach) {
      for (const [id, device] of waiting) {
        const how = ended.get(id);
        if (how === undefined) breach('live', `${device} was not called, or its message did not complete`);
        else if (how !== `cleared by ${enders.get(id)}`)
          breach('live', `the message of ${device} ended as ${how}`);
      }
    },
  };
}
