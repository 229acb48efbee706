import { PassThrough } from 'node:stream';
import t from 'tap';
import { createGuests } from '../../../proxy/relays/relay-door-guests.ts';
import { DEFAULT_POLL_LIMITS } from '../../../proxy/poll/limits.ts';
import { GREETING_MS } from '../../../shared/protocol.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { createHandlerRig, PENDING_DEVICE } from '../../fixtures/poll-handler.ts';

// What a limit kept out is let in again by itself once the time that is written down is over, whoever caused it.

t.test(
  'the relay door: who shows no key is gone after its time, and its address has its places back',
  async (t) => {
    const clock = createFakeClock();
    const cut: string[] = [];
    const guests = createGuests({
      most: 6,
      perAddress: 2,
      within: GREETING_MS,
      clock,
      onCut: (why) => cut.push(why),
    });
    const come = (address: string): PassThrough => {
      const socket = new PassThrough();
      guests.add(socket, address);
      return socket;
    };
    const hostile = Array.from({ length: 4 }, () => come('a'));
    t.same(cut, ['address-full', 'address-full'], 'the newest stay');
    clock.advance(GREETING_MS - 1);
    t.same(
      hostile.map(({ destroyed }) => destroyed),
      [true, true, false, false],
    );
    clock.advance(1);
    t.same(cut.slice(2), ['late', 'late']);
    t.ok(hostile.every(({ destroyed }) => destroyed));
    const [one, other] = [come('a'), come('a')];
    clock.advance(GREETING_MS - 1);
    t.notOk(one.destroyed || other.destroyed, 'nothing is held against the address');
    t.equal(cut.length, 4);
  },
);

t.test(
  'poll doors: one that slow phones fill takes newcomers after a second, and forgets them after their time',
  async (t) => {
    const { clock, connect, connections, stats } = createHandlerRig({ limits: { connections: 2 } });
    const poll = async (): Promise<string> => {
      const phone = connect();
      phone.stream.write(
        `GET /dcmp/contact-me?device-id=${PENDING_DEVICE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      );
      return (await phone.closed).split(' ')[1] ?? 'nothing';
    };
    const comeSlowly = (): Promise<string> => {
      const { stream, closed } = connect();
      stream.write('GET /');
      return closed;
    };
    const slow = [comeSlowly(), comeSlowly()];
    // Bytes of a stream in memory arrive a turn later.
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(await poll(), '503');
    clock.advance(1_001);
    t.equal(await poll(), '202', 'who has been slow for a second gives way');
    slow.push(comeSlowly());
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(DEFAULT_POLL_LIMITS.headerMs + 1);
    connections.sweep();
    t.same(await Promise.all(slow), ['', '', '']);
    t.equal(stats().connections.open, 0);
    t.match(stats().cut, { evicted: 1, header_timeout: 2 });
    for (let i = 0; i < 5; i++) t.equal(await poll(), '202', 'nothing is held against anybody');
  },
);
