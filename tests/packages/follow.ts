import type { Test } from 'tap';
import { parse, parseDocument } from 'yaml';
import { blocksOf } from '../fixtures/documents.ts';
import type { Machine } from './machine.ts';

/** A command that prints something worth a look. @param code - what it ends with; default 0 */
export type Expected = [starts: string, prints: RegExp, code?: number];

/** How a page is followed from its first command to its last. */
export interface Following {
  /** For messages. */
  page: string;
  text: string;
  /** The machine that a heading speaks of; null where it speaks of none, and then no command may stand under it. */
  machineOf(heading: string): Machine | null;
  /** In order; every one has to come. */
  expected: Expected[];
  /** The file that blocks of YAML are written into. */
  config: string;
  /** Scripts that run after a command on its machine: a reader is slower than a test. */
  after: Record<string, string>;
  /** What a command asks for at the terminal, line by line. */
  answers?: Record<string, string>;
  /** Called with each heading before what stands under it. */
  before?(heading: string): Promise<void>;
}

/** Runs every command of a page as it stands, but for the join string, which a reader copies. */
export async function follow(t: Test, following: Following): Promise<void> {
  const expected = [...following.expected];
  let joinString = 'nothing was invited';
  for (const section of following.text.split(/^(?=##)/m)) {
    const heading = section.split('\n', 1)[0] ?? '';
    await following.before?.(heading);
    const machine = following.machineOf(heading);
    for (const { language, text } of blocksOf(section)) {
      if (machine === null) throw new Error(`${following.page}: on which host is ${text} under ${heading}?`);
      if (language === 'yaml') await edit(machine, following.config, text);
      if (language !== 'sh') continue;
      for (const written of text.trim().split('\n')) {
        const command = written.replace('sallyport-join-1.…', joinString).replace('_amd64', '_*');
        const answer = Object.entries(following.answers ?? {}).find(([starts]) => written.startsWith(starts));
        // Without a terminal of its own it asks its standard input.
        const asked = answer === undefined ? '' : `printf '${answer[1]}' | setsid --wait `;
        const { code, stdout, stderr } = await machine.sh(`cd /root && ${asked}${command}`);
        const [starts = '', prints, wanted = 0] = expected[0] ?? [];
        const looked = prints !== undefined && written.startsWith(starts);
        if (looked) {
          expected.shift();
          t.match(stdout, prints, written);
        }
        t.equal(code, looked ? wanted : 0, `${heading}: ${written} ${stderr}`);
        const later = following.after[written];
        if (later !== undefined) await machine.must(later);
        if (written.includes(' invite ')) joinString = stdout.trim().split('\n').at(-1) ?? '';
      }
    }
  }
  t.same(expected, [], `${following.page} has all the commands that are expected`);
}

/** Writes the keys of a block into a config. */
export async function edit(machine: Machine, file: string, block: string): Promise<void> {
  const document = parseDocument(await machine.must(`cat ${file}`));
  for (const [key, value] of Object.entries(parse(block) as object)) document.set(key, value);
  await machine.must(`cat > ${file} <<'CONFIG'\n${document.toString()}CONFIG`);
}
