import t from 'tap';
import { createMailbox } from '../../../proxy/mailbox.ts';
import type { HeldEntry } from '../../../shared/protocol.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { createMailboxMarks } from '../../fixtures/mailbox-marks.ts';

const DEVICE = '00:1a:e8:00:00:01';

t.test(
  'the end of an older generation leaves a re-driven message alone, which a snapshot brought already',
  (t) => {
    const into = createMailboxMarks();
    const mailbox = createMailbox({
      clock: createFakeClock(),
      marks: into,
      limit: 10,
    });
    const held = (generation: number): HeldEntry => ({
      id: 'm1',
      device: DEVICE,
      kind: 'contact-me',
      generation,
      dueIn: 0,
      expiresIn: 60_000,
    });
    mailbox.snapshot({ incarnation: 'i', seq: 5, first: true, last: true, entries: [held(2)] });
    mailbox.changes(6, [{ op: 'end', id: 'm1', device: DEVICE, generation: 1 }]);
    t.match(into.marks.get(DEVICE), { pending: true, generation: 2 });
    mailbox.changes(7, [{ op: 'hold', ...held(1) }]);
    t.match(into.marks.get(DEVICE), { pending: true, generation: 2 }, 'nor does an older hold come back');
    mailbox.changes(8, [{ op: 'end', id: 'm1', device: DEVICE, generation: 2 }]);
    t.match(into.marks.get(DEVICE), { pending: false });
    t.same(mailbox.counts(), { messages: 0, devices: 0 });
    t.end();
  },
);
