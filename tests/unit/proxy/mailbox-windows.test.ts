import t from 'tap';
import { createMailbox, WINDOW_MS, WINDOW_PERIOD_MS } from '../../../proxy/mailbox.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { createMailboxMarks } from '../../fixtures/mailbox-marks.ts';

const DEVICE = '00:1a:e8:00:00:01';
const DAY_MS = 24 * 3_600_000;

function start(dueIn: number, expiresIn = DAY_MS) {
  const clock = createFakeClock();
  const into = createMailboxMarks();
  const mailbox = createMailbox({
    clock,
    marks: into,
    limit: 10,
  });
  mailbox.windowed(true);
  const entry = { id: 'm1', device: DEVICE, kind: 'contact-me' as const, generation: 1, dueIn, expiresIn };
  mailbox.snapshot({ incarnation: 'i', seq: 1, first: true, last: true, entries: [entry] });
  const offered = (): boolean => {
    const mark = into.marks.get(DEVICE);
    const now = clock.monotonic();
    return mark !== undefined && mark.pending && mark.notBefore <= now && now < mark.expiry;
  };
  /** Minutes, from the beginning, in which it is offered. */
  const offeredMinutes = (minutes: number): number[] => {
    const found: number[] = [];
    for (let minute = 0; minute < minutes; minute++) {
      if (offered()) found.push(minute);
      for (let s = 0; s < 60; s++) {
        clock.advance(1_000);
        mailbox.tick();
      }
    }
    return found;
  };
  return { clock, mailbox, offered, offeredMinutes };
}

const span = (from: number, length: number): number[] => Array.from({ length }, (_, i) => from + i);

t.test('where nobody sees whether a phone came, it is called for ten minutes, then ten in each hour', (t) => {
  t.same(start(0).offeredMinutes(150), [...span(0, 10), ...span(60, 10), ...span(120, 10)]);
  t.end();
});

t.test('windows count from when the message fell due, also when it is told anew after a reconnect', (t) => {
  t.same(start(5 * 60_000).offeredMinutes(70), [...span(5, 10), ...span(65, 5)], 'due in five minutes');
  t.same(start(-(WINDOW_MS + 60_000)).offeredMinutes(70), [...span(49, 10)], 'due for eleven minutes');
  t.end();
});

t.test('expiry ends a window, and no window opens after it', (t) => {
  t.same(start(0, 63 * 60_000).offeredMinutes(200), [...span(0, 10), ...span(60, 3)]);
  t.end();
});

t.test('a site that sees its sessions again offers without windows', (t) => {
  const { clock, mailbox, offered } = start(0);
  clock.advance(WINDOW_MS + WINDOW_PERIOD_MS / 4);
  mailbox.tick();
  t.notOk(offered());
  mailbox.windowed(false);
  t.ok(offered());
  t.end();
});
