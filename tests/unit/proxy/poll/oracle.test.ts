import t from 'tap';
import type { DeviceId } from '../../../../shared/device-id.ts';
import {
  createHandlerRig,
  IDLE_DEVICE,
  PENDING_DEVICE,
  type HandlerRig,
} from '../../../fixtures/poll-handler.ts';
import { Moments, welchT } from '../../../oracle/welch.ts';

const HOST = 'Host: proxy.example\r\n';
const FOREVER = { pending: true, generation: 1, notBefore: 0, expiry: Infinity };

/** What brings a device with something pending to be told 200 all the same. */
const STATES: Record<string, (rig: HandlerRig) => void> = {
  'in session': ({ marks }) => marks.quiet('site0', PENDING_DEVICE, Infinity),
  'in the session gap': ({ marks }) => marks.gap('site0', PENDING_DEVICE, Infinity),
  'not admitted': ({ marks }) => marks.site('site0', { admit: 0 }),
  'before its time': ({ marks, clock }) =>
    marks.set('site0', PENDING_DEVICE, { ...FOREVER, notBefore: clock.monotonic() + 60_000 }),
  'after its time': ({ marks, clock }) => {
    marks.set('site0', PENDING_DEVICE, { ...FOREVER, expiry: clock.monotonic() + 1_000 });
    clock.advance(2_000);
  },
  'with its link down': ({ marks }) => marks.site('site0', { aliveUntil: 0 }),
  'with its service down': ({ marks }) => marks.site('site0', { upstreamOk: false }),
  removed: ({ marks }) => marks.remove('site0', PENDING_DEVICE),
  'with nothing pending': ({ marks }) => marks.set('site0', PENDING_DEVICE, { ...FOREVER, pending: false }),
};

/** Requests for a device, each the only ones of its connection, which they or their answers close. */
const SPELLINGS: Record<string, (device: string) => string> = {
  'HTTP/1.0': (device) => `GET /contact-me?device-id=${device} HTTP/1.0\r\n\r\n`,
  'HTTP/1.0, kept': (device) =>
    `GET /contact-me?device-id=${device} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`.repeat(2) +
    `GET /contact-me?device-id=${device} HTTP/1.0\r\n\r\n`,
  'HTTP/1.1': (device) => `GET /contact-me?device-id=${device} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
  'HTTP/1.1, kept': (device) =>
    `GET /contact-me?device-id=${device} HTTP/1.1\r\n${HOST}\r\n`.repeat(2) +
    `GET /contact-me?device-id=${device} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
  HEAD: (device) => `HEAD /contact-me?device-id=${device} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
};

async function answers(rig: HandlerRig, device: DeviceId, spelling: string): Promise<string> {
  const phone = rig.connect();
  phone.stream.write(SPELLINGS[spelling]?.(device));
  return phone.closed;
}

t.test('whatever holds a device back, its answer is that of an unknown one to the byte', async (t) => {
  const nobody = '00:1a:e8:00:00:99' as DeviceId;
  for (const spelling of Object.keys(SPELLINGS)) {
    const rig = createHandlerRig();
    const unknown = await answers(rig, nobody, spelling);
    t.match(unknown, /^HTTP\/1\.1 200 OK\r\n/);
    t.equal(await answers(rig, IDLE_DEVICE, spelling), unknown, `idle, ${spelling}`);
    t.not(await answers(rig, PENDING_DEVICE, spelling), unknown, `free to be called, ${spelling}`);
    for (const [state, bring] of Object.entries(STATES)) {
      const rig = createHandlerRig();
      bring(rig);
      t.equal(await answers(rig, PENDING_DEVICE, spelling), unknown, `${state}, ${spelling}`);
    }
  }
});

t.test("Welch's t is the distance of the means in standard errors", async (t) => {
  const of = (values: number[]): Moments => {
    const moments = new Moments();
    for (const value of values) moments.add(value);
    return moments;
  };
  // Means 3 and 6, variances 2.5 and 10: -3 / sqrt(2.5 / 5 + 10 / 5).
  t.ok(Math.abs(welchT(of([1, 2, 3, 4, 5]), of([2, 4, 6, 8, 10])) + 3 / Math.sqrt(2.5)) < 1e-12);
});
