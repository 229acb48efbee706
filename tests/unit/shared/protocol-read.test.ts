import fc from 'fast-check';
import t from 'tap';
import { ENTRIES_PER_FRAME } from '../../../shared/protocol.ts';
import type { ProxyFrame, RelayFrame } from '../../../shared/protocol.ts';
import {
  PROXY_FRAME_FIELDS,
  readProxyFrame,
  readRelayFrame,
  RELAY_FRAME_FIELDS,
} from '../../../shared/protocol-read.ts';

const DEVICE = '00:1a:e8:00:00:01';
const ENTRY = {
  id: 'm1',
  device: DEVICE,
  kind: 'contact-me' as const,
  generation: 3,
  dueIn: -5,
  expiresIn: 60_000,
};

/** One good frame of each type. */
const RELAY_FRAMES: { [T in RelayFrame['type']]: Extract<RelayFrame, { type: T }> } = {
  hello: {
    type: 'hello',
    relay: 'hq-1',
    site: 'default',
    incarnation: 'abc',
    seq: 7,
    software: '1.0.0',
    services: ['wpi'],
    blind: false,
    credit: 1_048_576,
    pollSecrets: [Buffer.alloc(32, 1).toString('base64'), Buffer.alloc(32, 2).toString('base64')],
  },
  snapshot: { type: 'snapshot', incarnation: 'abc', seq: 7, first: true, last: false, entries: [ENTRY] },
  changes: {
    type: 'changes',
    seq: 8,
    changes: [
      { op: 'hold', ...ENTRY },
      { op: 'end', id: 'm1', device: DEVICE, generation: 3 },
    ],
  },
  known: { type: 'known', devices: [DEVICE], total: 3 },
  quiet: { type: 'quiet', device: DEVICE, generation: 3, ms: 1_000 },
  loud: { type: 'loud', device: DEVICE },
  gap: { type: 'gap', device: DEVICE },
  health: { type: 'health', ready: true, sessions: 0, services: [{ name: 'wpi', up: true }], courier: true },
  ping: { type: 'ping', n: 1 },
  pong: { type: 'pong', n: 1 },
  drain: { type: 'drain', streams: true },
};
const PROXY_FRAMES: { [T in ProxyFrame['type']]: Extract<ProxyFrame, { type: T }> } = {
  welcome: {
    type: 'welcome',
    link: 'l1',
    software: '1.0.0',
    site: 'default',
    doors: [{ name: 'wpi', service: 'wpi', tls: 'relay' }],
    holds: { incarnation: 'abc', seq: 7 },
    credit: 1_048_576,
    direct: false,
    pollSecret: true,
    sessionGapMs: 60_000,
  },
  applied: { type: 'applied', incarnation: 'abc', seq: 7 },
  polls: {
    type: 'polls',
    polls: [{ device: DEVICE, agoMs: 5, status: 202 }],
    unknown: [{ device: 'x', agoMs: 5, address: '2001:db8::1' }],
  },
  metrics: {
    type: 'metrics',
    samples: [{ name: 'sallyport_polls_total', kind: 'counter', labels: { status: '200' }, value: 1.5 }],
  },
  ping: { type: 'ping', n: 1 },
  pong: { type: 'pong', n: 1 },
  drain: { type: 'drain', successor: true },
};

const SIDES = [
  {
    side: 'relay',
    frames: Object.values<RelayFrame>(RELAY_FRAMES),
    fields: RELAY_FRAME_FIELDS as Record<string, string[]>,
    read: readRelayFrame,
  },
  {
    side: 'proxy',
    frames: Object.values<ProxyFrame>(PROXY_FRAMES),
    fields: PROXY_FRAME_FIELDS as Record<string, string[]>,
    read: readProxyFrame,
  },
] as const;

/** Fields that peers of an older build do not say. */
const ADDED = [
  'hello.credit',
  'hello.pollSecrets',
  'welcome.credit',
  'welcome.direct',
  'welcome.pollSecret',
  'welcome.sessionGapMs',
  'health.courier',
  'known.total',
  'drain.streams',
  'drain.successor',
];

/** Values that fit no field, or only those named. */
const ODD = [
  null,
  undefined,
  '',
  [],
  {},
  'x\u001b[2J',
  -1e300,
  1e300,
  '\u0000',
  [null],
  [{}],
  'ä',
  true,
  0.5,
];

for (const { side, frames, fields, read } of SIDES) {
  t.test(`a good frame of each type of a ${side} is read as it is`, async (t) => {
    for (const frame of frames) {
      t.same(read(JSON.stringify(frame)), { frame }, frame.type);
      t.same(
        Object.keys(frame).slice(1).sort(),
        [...(fields[frame.type] ?? [])].sort(),
        'all fields are tried',
      );
    }
  });

  t.test(`a frame of a ${side} without one of its fields is refused by that name`, async (t) => {
    for (const frame of frames) {
      for (const field of fields[frame.type] ?? []) {
        const { [field]: _, ...rest } = frame as unknown as Record<string, unknown>;
        const expected = { wrong: `field ${field} of a ${frame.type} frame is missing or wrong` };
        if (ADDED.includes(`${frame.type}.${field}`)) t.same(read(JSON.stringify(rest)), { frame: rest });
        else t.same(read(JSON.stringify(rest)), expected);
        const refused = ODD.filter((value) => 'wrong' in read(JSON.stringify({ ...frame, [field]: value })));
        t.ok(refused.length >= ODD.length - 3, `${frame.type}.${field} refuses ${refused.length} odd values`);
      }
    }
  });

  t.test(`fields that a ${side} of another version adds are ignored, and frame types skipped`, async (t) => {
    for (const frame of frames) t.match(read(JSON.stringify({ ...frame, more: { a: 1 } })), { frame });
    t.same(read('{"type":"of-tomorrow","x":1}'), { skipped: 'of-tomorrow' });
    t.same(read('{"type":"__proto__"}'), { skipped: '__proto__' });
    t.equal((read(JSON.stringify({ type: 'x'.repeat(9_999) })) as { skipped: string }).skipped.length, 128);
  });

  t.test(`what is no frame is refused, and never throws, from a ${side}`, (t) => {
    for (const text of ['', '{', 'null', '[]', '1', '"x"', '{}', '{"type":1}', '['.repeat(100_000)]) {
      t.ok('wrong' in read(text), text.slice(0, 20));
    }
    const outcome = (text: string): boolean => {
      const result = read(text);
      return 'wrong' in result || 'skipped' in result || 'frame' in result;
    };
    const type = fc.constantFrom(...frames.map((frame) => frame.type), 'other');
    fc.assert(fc.property(fc.string(), outcome));
    fc.assert(fc.property(fc.json({ maxDepth: 4 }), outcome));
    fc.assert(
      fc.property(
        type,
        fc.dictionary(fc.constantFrom(...Object.values(fields).flat()), fc.jsonValue()),
        (type, rest) => outcome(JSON.stringify({ ...rest, type })),
      ),
    );
    t.end();
  });
}

t.test('what stands inside of lists is checked as well', async (t) => {
  const { snapshot, changes, health } = RELAY_FRAMES;
  const { welcome, polls, metrics } = PROXY_FRAMES;
  const [sample] = metrics.samples;
  const wrong: unknown[] = [
    ...Object.keys(ENTRY).flatMap((field) => [
      { ...snapshot, entries: [{ ...ENTRY, [field]: undefined }] },
      { ...changes, changes: [{ op: 'hold', ...ENTRY, [field]: undefined }] },
    ]),
    { ...snapshot, entries: [{ ...ENTRY, device: 'UPPER' }] },
    { ...snapshot, entries: [{ ...ENTRY, device: `a\n` }] },
    { ...snapshot, entries: [{ ...ENTRY, kind: 'other' }] },
    { ...snapshot, entries: [{ ...ENTRY, expiresIn: -1 }] },
    { ...snapshot, entries: [{ ...ENTRY, generation: 2 ** 53 }] },
    { ...changes, changes: [{ op: 'end', id: 'm1', device: DEVICE }] },
    { ...changes, changes: [{ ...ENTRY }] },
    { ...changes, changes: [null] },
    { ...changes, changes: [7] },
    { ...health, services: [{ name: 'wpi' }] },
    { ...RELAY_FRAMES.hello, services: ['no name'] },
    { ...RELAY_FRAMES.hello, pollSecrets: ['tooshort='] },
    { ...RELAY_FRAMES.hello, pollSecrets: Array(3).fill(RELAY_FRAMES.hello.pollSecrets?.[0]) },
    { ...RELAY_FRAMES.known, devices: Array.from({ length: ENTRIES_PER_FRAME + 1 }, () => DEVICE) },
  ];
  for (const frame of wrong)
    t.ok('wrong' in readRelayFrame(JSON.stringify(frame)), JSON.stringify(frame).slice(0, 200));
  const wrongOfProxy: unknown[] = [
    { ...welcome, doors: [{ name: 'wpi', service: 'wpi', tls: 'both' }] },
    { ...welcome, holds: { incarnation: 'abc' } },
    { ...polls, polls: [{ device: DEVICE, agoMs: 5, status: 404 }] },
    { ...polls, unknown: [{ device: 'x', agoMs: 5, address: 'somewhere' }] },
    { ...metrics, samples: [{ ...sample, name: 'other_polls' }] },
    { ...metrics, samples: [{ ...sample, name: 'sallyport_x{a="b"} 1\nother' }] },
    { ...metrics, samples: [{ ...sample, labels: { __name__: 'x' } }] },
    { ...metrics, samples: [{ ...sample, labels: { status: '' } }] },
    { ...metrics, samples: [{ ...sample, labels: { status: 'a\nb' } }] },
    { ...metrics, samples: [{ ...sample, value: null }] },
    {
      ...metrics,
      samples: [{ ...sample, labels: Object.fromEntries('abcdefghi'.split('').map((l) => [l, 'x'])) }],
    },
  ];
  for (const frame of wrongOfProxy)
    t.ok('wrong' in readProxyFrame(JSON.stringify(frame)), JSON.stringify(frame));
  t.ok('frame' in readProxyFrame(JSON.stringify({ ...welcome, holds: null })));
  t.ok(
    'frame' in
      readProxyFrame(JSON.stringify({ ...polls, unknown: [{ device: 'x', agoMs: 5, address: null }] })),
  );
});
