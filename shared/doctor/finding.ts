/** `ok`; `warn`: works, but look at it; `fail`: does not work, or must not stay so. */
export type Level = 'ok' | 'warn' | 'fail';

/** What a check says of one thing. Never holds a secret. */
export interface Finding {
  /** The check, in one word. */
  check: string;
  /** What was looked at: a file, an address, a door. */
  about: string;
  level: Level;
  /** What was seen, one sentence without its full stop. */
  says: string;
  /** What to do; null exactly where it is ok. */
  fix: string | null;
  /** What can be seen from another machine only: where, and by which command. Null = nothing. */
  elsewhere: string | null;
}

/** A finding before it is known which check made it. */
export type Look = Omit<Finding, 'check'>;

export const ok = (about: string, says: string, elsewhere: string | null = null): Look => ({
  about,
  level: 'ok',
  says,
  fix: null,
  elsewhere,
});
export const warn = (about: string, says: string, fix: string): Look => ({
  about,
  level: 'warn',
  says,
  fix,
  elsewhere: null,
});
export const fail = (about: string, says: string, fix: string): Look => ({
  about,
  level: 'fail',
  says,
  fix,
  elsewhere: null,
});
