import t from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import type { LogFields } from '../../../shared/log.ts';
import { createRareLog } from '../../../relay-client/services/rare-log.ts';

t.test('a message comes once a second and tells what was left out', async (t) => {
  let now = 0;
  const lines: [string, LogFields | undefined][] = [];
  const log = createRareLog(
    { ...silentLog, warn: (msg, fields) => void lines.push([msg, fields]) },
    { ...systemClock, monotonic: () => now },
  );
  const phone = log.child({ phone: 'a' });
  for (let i = 0; i < 5; i++) phone.warn('refused', { i });
  log.warn('another', {});
  now = 999;
  log.child({ phone: 'b' }).warn('refused', { i: 5 });
  now = 1_000;
  phone.warn('refused', { i: 6 });
  now = 3_000;
  phone.warn('refused', { i: 7 });
  t.strictSame(lines, [
    ['refused', { phone: 'a', i: 0 }],
    ['another', {}],
    ['refused', { phone: 'a', i: 6, unlogged: 5 }],
    ['refused', { phone: 'a', i: 7 }],
  ]);
});
