import { DOOR_MODES } from './check.ts';
import type { DoorMode, Verdict } from './check.ts';
import type { Quirk } from './quirk.ts';

export type Verdicts = ReadonlyMap<Quirk, Readonly<Record<DoorMode, Verdict>>>;

export const GREEN = '🟢';
export const RED = '🔴';

const DIRECTIONS: readonly (keyof Verdict)[] = ['toService', 'toPhone', 'outcome'];
const COLUMNS = ['quirk', 'what', 'source', 'the message'].concat(
  DOOR_MODES.flatMap((mode) => [`${mode}, to the service`, `${mode}, to the phone`, `${mode}, outcome`]),
);

const INTRODUCTION = `# Conformance

What phones and services in the field are known to do, and whether Sallyport takes it. \`npm run conformance\` plays every line
through a proxy and a relay, over real sockets, by a phone and a service that behave exactly so, and writes this page. The
tests play the same list.

Each line is played through a *sealed* and an *inspected* door, while a message is pending for the phone:

- *to the service*: what arrived is what the phone sent, header by header and body byte for byte. Only the contact-me address
  in a phone's message is another one, and \`Content-Length\` with it.
- *to the phone*: what arrived is what the service sent, likewise; always with a length, never in chunks. Where the service
  sets no cookie, one of ours may be beside it, and the service never sees that.
- *outcome*: each session came out as it had to, polls were 200 while the phone was at work, and the message
  is then *cleared*, or *stays pending* and polls are 202 again.

${GREEN} as it has to be, ${RED} not.
`;

/** The page, from what was found. */
export function conformancePage(
  headings: Readonly<Record<string, readonly Quirk[]>>,
  verdicts: Verdicts,
): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const line = (quirk: Quirk): string => {
    const found = verdicts.get(quirk);
    const cells = DOOR_MODES.flatMap((mode) =>
      DIRECTIONS.map((direction) => (found?.[mode][direction].length === 0 ? GREEN : RED)),
    );
    return row([`\`${quirk.id}\``, quirk.what, quirk.source, quirk.expects, ...cells]);
  };
  const tables = Object.entries(headings).map(
    ([heading, quirks]) =>
      `\n## ${heading}\n\n${row(COLUMNS)}\n|${'---|'.repeat(COLUMNS.length)}\n${quirks.map(line).join('\n')}\n`,
  );
  return INTRODUCTION + tables.join('');
}
