/**
 * Runs every test that docs/promises.md names, once for each engine of the outbox.
 *
 *   npm run promises                          with both
 *   npm run promises -- --engine postgres     only with the outbox in PostgreSQL, or `sqlite`
 *
 * With PostgreSQL every gate of those tests has a server of its own. What tests an engine by itself runs once.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { readArguments } from '../../bin/arguments.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const ENGINES = ['sqlite', 'postgres'];
/** Tests through gates of what only SQLite has: its files on a disk, its backups, a time of the relay's own. */
const OF_SQLITE = ['backup', 'faults-clock', 'faults-disk'];
const FILE_S = '900';

const HELP = `npm run promises -- [--engine sqlite|postgres]
`;

const { values } = readArguments(() => {
  const read = parseArgs({ options: { engine: { type: 'string' } } });
  const { engine } = read.values;
  if (engine !== undefined && !ENGINES.includes(engine))
    throw new Error(`there is no engine ${engine}; there are ${ENGINES.join(' and ')}`);
  return read;
}, HELP);

const page = readFileSync(`${root}docs/promises.md`, 'utf8');
const files = [...new Set([...page.matchAll(/^- Test: `([^`]+\.test\.ts)`/gm)].map(([, file = '']) => file))];
const ofSqlite = (file: string): boolean => OF_SQLITE.some((name) => file === `tests/system/${name}.test.ts`);
const throughGates = files.filter(
  (file) => !ofSqlite(file) && /\bstart(Switched)?Gate\(/.test(readFileSync(`${root}${file}`, 'utf8')),
);

let failed = 0;
for (const engine of ENGINES.filter((each) => values.engine === undefined || each === values.engine)) {
  process.stdout.write(`with the outbox in ${engine}:\n`);
  const of = engine === 'sqlite' ? files : throughGates;
  const env = {
    ...process.env,
    TEST_FILE_S: FILE_S,
    ...(engine === 'sqlite' ? {} : { TEST_ENGINE: 'PostgreSQL' }),
  };
  const { status } = spawnSync('sh', ['bin/launch.sh', 'tests/run', ...of], {
    cwd: root,
    env,
    stdio: 'inherit',
  });
  if (status !== 0) failed += 1;
}
process.exit(failed === 0 ? 0 : 1);
