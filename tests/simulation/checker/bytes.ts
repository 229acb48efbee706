import type { Milliseconds } from '../../../shared/clock.ts';
import type { Plan } from '../world/plan.ts';
import type { Fact, Judge, ServiceAnswer } from './facts.ts';

type Breach = (promise: string, why: string) => void;

/** What the relay may say by itself, without a body. */
const OWN_STATUSES = new Set([400, 408, 413, 431, 502, 503, 504]);
/** Where nothing is wrong, an exchange takes no longer than this besides the service's own thought. */
const PROMPT_MS: Milliseconds = 5_000;

/** What becomes of phones' requests and of the answers: P12, P13, P14. */
export function createBytesJudge(plan: Plan): Judge {
  const heard = new Set<string>();
  const said = new Map<string, ServiceAnswer>();
  const asked = new Map<string, string>();

  function got(fact: Extract<Fact, { what: 'phone-got' }>, breach: Breach): void {
    const { nonce, status, body, whole, ms } = fact;
    const answer = said.get(nonce);
    if (answer === undefined || answer.status !== status) {
      if (OWN_STATUSES.has(status) && body.length === 0) return;
      if (plan.actions && status === 200 && !heard.has(nonce)) return gotOwn(fact, breach);
      return breach('P12', `a phone got ${status} with ${body.length} bytes that the service never said`);
    }
    if (!answer.body.subarray(0, body.length).equals(body)) {
      return breach('P12', `a phone got ${body.length} bytes that are no beginning of the service's answer`);
    }
    if (whole && (!answer.whole || body.length !== answer.body.length)) {
      return breach(
        'P12',
        `a phone takes ${body.length} bytes for whole of ${answer.body.length} that were cut off`,
      );
    }
    const calm = plan.faultMs === Infinity;
    if (calm && asked.get(nonce) !== 'file' && ms - answer.thoughtMs > PROMPT_MS) {
      breach('P14', `an exchange took ${ms} ms, of which the service needed ${answer.thoughtMs}`);
    }
  }

  /** The courier answers by itself: what is sent is looked at elsewhere, here only whether it is what it looks like. */
  function gotOwn({ nonce, body, whole, ms }: Extract<Fact, { what: 'phone-got' }>, breach: Breach): void {
    if (!whole) return;
    const text = body.toString('utf8');
    const farewell = body.length === 0 && asked.get(nonce) === 'clean-up';
    if (!farewell && !(text.endsWith('</DLSMessage>\n') && text.includes(`nonce="${nonce}"`))) {
      breach('P12', `a phone got ${body.length} bytes that neither the service nor the relay can have meant`);
    }
    if (plan.faultMs === Infinity && ms > PROMPT_MS)
      breach('P14', `an exchange with the relay took ${ms} ms`);
  }

  return {
    take(fact, _now, breach) {
      switch (fact.what) {
        case 'phone-asked':
          asked.set(fact.nonce, fact.reason);
          return;
        case 'service-heard':
          if (heard.has(fact.nonce)) breach('P13', `a request reached the service twice`);
          if (!asked.has(fact.nonce)) breach('P13', `the service heard a request that no phone has made`);
          heard.add(fact.nonce);
          return;
        case 'service-said':
          said.set(fact.nonce, fact.answer);
          return;
        case 'phone-got':
          return got(fact, breach);
        default:
      }
    },
  };
}
