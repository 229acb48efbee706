import fc from 'fast-check';
import t from 'tap';
import { DEVICE_ID_LIMIT, parseDeviceId, readDeviceId } from '../../../shared/device-id.ts';

/** What the door's byte reader makes of a query value. */
function read(text: string): string | null {
  const bytes = Buffer.from(`?${text}&`, 'latin1');
  const out = new Uint8Array(3 + DEVICE_ID_LIMIT).fill(0xff);
  const length = readDeviceId(bytes, 1, bytes.length - 1, out, 3);
  return length === 0 ? null : Buffer.from(out.subarray(3, 3 + length)).toString('latin1');
}

const idChars = [...'0123456789abcdefABCDEFghzGHZ:.-_+'];
const idText = fc.oneof(
  fc.string({ unit: fc.constantFrom(...idChars), maxLength: 70 }),
  fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF:-.'), minLength: 10, maxLength: 20 }),
  fc.string({ unit: 'binary-ascii', maxLength: 20 }),
);

t.test('every spelling of a MAC is the same device', async (t) => {
  for (const raw of [
    '00:1a:e8:00:00:01',
    '00:1A:E8:00:00:01',
    '00-1a-e8-00-00-01',
    '001a.e800.0001',
    '001AE8000001',
    '0.0-1:A...e8000001:',
  ]) {
    t.equal(parseDeviceId(raw), '00:1a:e8:00:00:01', raw);
    t.equal(read(raw), '00:1a:e8:00:00:01', raw);
  }
  t.equal(read('00%3A1a%3ae8%3A00%3a00%3A01'), '00:1a:e8:00:00:01', 'with its colons percent-encoded');
});

t.test('other ids keep their characters and lose their case', async (t) => {
  t.equal(parseDeviceId('Phone_7+West.2'), 'phone_7+west.2');
  t.equal(read('Phone_7+West.2'), 'phone_7+west.2', 'a plus sign is no space');
  t.equal(parseDeviceId('001ae800000'), '001ae800000', 'eleven digits are no MAC');
  t.equal(parseDeviceId('001ae80000012'), '001ae80000012', 'nor are thirteen');
  t.equal(parseDeviceId('00_1ae8000001'), '00_1ae8000001', 'and nothing but : - . may stand between');
  t.equal(parseDeviceId('x'.repeat(DEVICE_ID_LIMIT))?.length, DEVICE_ID_LIMIT);
});

t.test('what is no device id is refused', async (t) => {
  for (const raw of [
    '',
    ' ',
    'a b',
    'a/b',
    'ä',
    'a\n',
    'x'.repeat(DEVICE_ID_LIMIT + 1),
    'a%b',
    '1,2',
    'a\0',
  ]) {
    t.equal(parseDeviceId(raw), null, JSON.stringify(raw));
  }
  for (const raw of [
    '',
    '%',
    '%4',
    '%zz',
    '%g0',
    'a%00',
    '%20',
    'a%C3%A4',
    'a%2',
    'x'.repeat(DEVICE_ID_LIMIT + 1),
  ]) {
    t.equal(read(raw), null, JSON.stringify(raw));
  }
});

t.test('the canonical form is a device id, the same one', async () => {
  fc.assert(
    fc.property(idText, (raw) => {
      const id = parseDeviceId(raw);
      return id === null || (parseDeviceId(id) === id && parseDeviceId(raw.toUpperCase()) === id);
    }),
  );
});

t.test('separators and case make no difference to twelve hex digits', async () => {
  const digit = fc.constantFrom(...'0123456789abcdef');
  const separators = fc.array(fc.constantFrom('', ':', '-', '.'), { minLength: 12, maxLength: 12 });
  fc.assert(
    fc.property(
      fc.array(digit, { minLength: 12, maxLength: 12 }),
      separators,
      fc.boolean(),
      (digits, between, upper) => {
        const text = digits.map((char, i) => char + (between[i] ?? '')).join('');
        const written = upper ? text.toUpperCase() : text;
        return (
          parseDeviceId(written) === parseDeviceId(digits.join('')) && parseDeviceId(written)?.length === 17
        );
      },
    ),
  );
});

t.test('reading the bytes of a query agrees with reading the decoded text', async () => {
  const encoded = fc
    .tuple(idText, fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 70, maxLength: 70 }))
    .map(([text, how]) => ({
      text,
      written: [...text]
        .map((char, i) => {
          const hex = char.charCodeAt(0).toString(16).padStart(2, '0');
          const encode = how[i] !== 0 || char === '%';
          return encode ? `%${how[i] === 1 ? hex : hex.toUpperCase()}` : char;
        })
        .join(''),
    }));
  fc.assert(
    fc.property(encoded, ({ text, written }) => read(written) === parseDeviceId(text)),
    { numRuns: 500 },
  );
});

t.test('arbitrary bytes never write beyond the room for an id', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const out = new Uint8Array(DEVICE_ID_LIMIT + 8).fill(0xee);
      const length = readDeviceId(bytes, 0, bytes.length, out, 4);
      const outside = [...out.subarray(0, 4), ...out.subarray(4 + DEVICE_ID_LIMIT)];
      return length <= DEVICE_ID_LIMIT && outside.every((byte) => byte === 0xee);
    }),
  );
});
