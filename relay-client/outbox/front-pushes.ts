import type { CallLedger } from './front-calls.ts';
import type { PushRequest, Refusal } from './ledger.ts';
import type { Accepted, Push } from './outbox.ts';
import { revive } from './refusals.ts';

/** Pushes that go into one call of `pushMany`, by number and by bytes: single pushes wait no longer than this takes. */
const MANY_STEP = 500;
const MANY_STEP_BYTES = 4 * 2 ** 20;

/** Calls of one `pushMany` that are on their way at a time: while one is at the disk, the next is being made. */
const MANY_AHEAD = 2;

/**
 * Pushes many, a step at a time, so that other pushes come between.
 *
 * @param make - makes of a push what a ledger takes, or throws what is wrong with it
 * @returns for each push, in order, what it was answered or why it was refused
 */
export async function pushInSteps(
  call: CallLedger,
  pushes: readonly Push[],
  make: (push: Push) => PushRequest,
): Promise<(Accepted | Error)[]> {
  const results = new Array<Accepted | Error>(pushes.length);
  let next = 0;

  /** Takes the next pushes, up to a step's worth; those that are invalid get their error here. */
  const takeStep = (): { requests: PushRequest[]; places: number[]; bytes: number } => {
    const step = { requests: [] as PushRequest[], places: [] as number[], bytes: 0 };
    while (next < pushes.length && step.requests.length < MANY_STEP && step.bytes < MANY_STEP_BYTES) {
      const place = next++;
      try {
        const made = make(pushes[place] as Push);
        step.requests.push(made);
        step.places.push(place);
        step.bytes += made.bytes;
      } catch (error) {
        results[place] = asError(error);
      }
    }
    return step;
  };

  const carry = async (): Promise<void> => {
    for (let step = takeStep(); step.requests.length > 0; step = takeStep()) {
      let answers: (Accepted | Refusal | Error)[];
      try {
        answers = await call('pushMany', [step.requests], step.bytes);
      } catch (error) {
        answers = step.requests.map(() => asError(error));
      }
      step.places.forEach((place, i) => {
        const answer = answers[i] as Accepted | Refusal | Error;
        results[place] = 'code' in answer && !(answer instanceof Error) ? revive(answer) : answer;
      });
    }
  };
  await Promise.all(Array.from({ length: MANY_AHEAD }, carry));
  return results;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
