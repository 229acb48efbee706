import type { Milliseconds } from '../clock.ts';
import { fail, ok, warn } from './finding.ts';
import type { Look } from './finding.ts';

/** A `Date` header tells whole seconds, and an answer takes its time. */
const UNSURE_MS: Milliseconds = 2_000;
/** Beyond this, times in two logs cannot be laid side by side. */
const ODD_MS: Milliseconds = 30_000;
/** Beyond this, certificates and invites are judged wrongly; the relay warns of a service's clock from here on, too. */
const WRONG_MS: Milliseconds = 300_000;

/** What a peer's `Date` header said, and when, by this machine's clock, it was asked and answered. */
export interface TimeTold {
  date: Milliseconds;
  asked: Milliseconds;
  answered: Milliseconds;
}

/** How far the peer's clock is ahead of ours; 0 where the difference is too small to be told. */
function skewOf({ date, asked, answered }: TimeTold): Milliseconds {
  const skew = date + 500 - (asked + answered) / 2;
  return Math.abs(skew) <= UNSURE_MS + (answered - asked) / 2 ? 0 : skew;
}

/** Says how a peer's clock goes beside ours. */
export function judgeClock(about: string, told: TimeTold | null): Look {
  if (told === null) return ok(about, 'does not tell its time, so the clocks cannot be compared');
  const skew = skewOf(told);
  if (skew === 0) return ok(about, 'its clock goes as this machine’s does');
  const size = Math.round(Math.abs(skew) / 1_000);
  const says = `its clock is ${size} s ${skew > 0 ? 'ahead of' : 'behind'} this machine’s`;
  const fix =
    'find out which of the two is wrong, and let NTP set both (timedatectl set-ntp true): certificates, invites and logs depend on it';
  if (Math.abs(skew) >= WRONG_MS) return fail(about, says, fix);
  return Math.abs(skew) >= ODD_MS ? warn(about, says, fix) : ok(about, says);
}

/** The time that a `Date` header tells; null where there is none that can be read. */
export function readDate(header: string | undefined): Milliseconds | null {
  const date = Date.parse(header ?? '');
  return Number.isNaN(date) ? null : date;
}
