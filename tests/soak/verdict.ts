import { DatabaseSync } from 'node:sqlite';
import type { Told } from './load.ts';

/** What the store has in the end, held against what callers were told. */
export interface Verdict {
  /** Messages ever accepted, as the store counts them. */
  accepted: number;
  states: Record<string, number>;
  /** What is not as promised; empty if all is well. */
  wrong: string[];
}

const ENDS = "('cleared', 'superseded', 'expired', 'cancelled', 'dead')";

/** @param path - the store, which no relay has open */
export function judge(path: string, told: Told, nonces: { requests: number; repeated: number }): Verdict {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    const wrong = [...told.wrong];
    const count = (sql: string): number => Number(Object.values(db.prepare(sql).get() ?? {})[0]);
    const states: Record<string, number> = {};
    for (const row of db.prepare('SELECT state, count(*) AS n FROM messages GROUP BY state').all())
      states[String(row['state'])] = Number(row['n']);
    const accepted = count('SELECT accepted FROM store');
    const ended = count('SELECT cleared + superseded + expired + cancelled + dead FROM store');
    const held = count('SELECT count(*) FROM messages WHERE held = 1');
    if (accepted !== ended + held) wrong.push(`${accepted} accepted, but ${ended} ended and ${held} held`);

    const has = db.prepare('SELECT 1 FROM messages WHERE id = ?');
    const lost = told.accepted.filter((id) => has.get(id) === undefined);
    if (lost.length > 0)
      wrong.push(`${lost.length} messages that were accepted are not there, the first ${lost[0]}`);
    if (accepted < told.accepted.length)
      wrong.push(`${told.accepted.length} pushes were answered 201, but only ${accepted} were accepted`);

    const often = count(
      `SELECT count(*) FROM (SELECT message FROM history WHERE event IN ${ENDS} GROUP BY message HAVING count(*) > 1)`,
    );
    if (often > 0) wrong.push(`${often} messages ended more than once`);
    const unended = count(
      `SELECT count(*) FROM messages WHERE held = 0 AND id NOT IN (SELECT message FROM history WHERE event IN ${ENDS})`,
    );
    if (unended > 0) wrong.push(`${unended} messages are over without an end in the history`);
    const [check] = Object.values(db.prepare('PRAGMA integrity_check').get() ?? {});
    if (check !== 'ok') wrong.push(`the store is damaged: ${String(check)}`);
    if (nonces.repeated > 0) wrong.push(`${nonces.repeated} requests reached the service twice`);
    return { accepted, states, wrong };
  } finally {
    db.close();
  }
}
