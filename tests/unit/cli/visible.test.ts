import { spawnSync } from 'node:child_process';
import t from 'tap';
import { pairs, table } from '../../../shared/table.ts';
import { visible, visibleLines } from '../../../shared/visible.ts';

const EVIL = 'a\x1b[2J\nroot  up\r\x9b1m\x07\u202e"b';
const SHOWN = 'a\\u001b[2J\\u000aroot  up\\u000d\\u009b1m\\u0007\\u202e"b';

t.test('no text steers a terminal or makes a line of its own', async (t) => {
  t.equal(visible(EVIL), SHOWN);
  t.equal(table(['NAME'], [[EVIL], [null], [7]]), `NAME\n${SHOWN}\n-\n7\n`);
  t.equal(pairs([['key', EVIL]]), `key  ${SHOWN}\n`);
  t.equal(visible('Ärger „ok“ 🔑 日本'), 'Ärger „ok“ 🔑 日本', 'what is only text stays');
  t.same(JSON.parse(visibleLines(JSON.stringify({ key: EVIL }))), { key: EVIL }, 'JSON stays the same JSON');
});

t.test('what a command prints goes that way', async (t) => {
  const script = `
    import { processIo } from ${JSON.stringify(new URL('../../../relay-client/cli/io.ts', import.meta.url))};
    processIo().out(${JSON.stringify(`${EVIL}\n`)});`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script]);
  t.equal(stdout.toString(), `${SHOWN.replace('\\u000a', '\n')}\n`);
});

t.test('so does what a program says of a failure', async (t) => {
  const script = `
    import { explainFailure } from ${JSON.stringify(new URL('../../../shared/program.ts', import.meta.url))};
    explainFailure('sallyport-relay', new Error(${JSON.stringify(EVIL)}));`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script]);
  t.equal(stderr.toString(), `sallyport-relay: ${SHOWN.replace('\\u000a', '\n')}\n`);
});
