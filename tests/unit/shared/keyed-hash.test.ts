import t from 'tap';
import { HASH_KEY_BYTES, createKeyedHash } from '../../../shared/keyed-hash.ts';

const key = Uint8Array.from({ length: HASH_KEY_BYTES }, (_, i) => i);

function hex(hash: ReturnType<typeof createKeyedHash>): string {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(hash.low, 0);
  bytes.writeUInt32LE(hash.high, 4);
  return bytes.toString('hex');
}

t.test("the hash gives the reference code's results (vectors_hsip64)", async (t) => {
  const message = Uint8Array.from({ length: 64 }, (_, i) => i);
  const expected: [number, string][] = [
    [0, '218d1f59b9b83cc8'],
    [1, 'be552412f8387315'],
    [2, '064f39ef7c50eb57'],
    [3, 'ce0f1a45f7060679'],
    [4, 'd5e78a175be52ea1'],
    [7, 'ff202728b07bc684'],
    [20, '1bf52b0a6feea7db'],
    [22, 'e20103fa1ba776ef'],
  ];
  const hash = createKeyedHash(key);
  for (const [length, result] of expected) {
    hash.update(message, 0, length);
    t.equal(hex(hash), result, `${length} bytes`);
  }
});

t.test('only the bytes named are hashed, and the key matters', async (t) => {
  const hash = createKeyedHash(key);
  hash.update(Buffer.from('xxabcdeyy'), 2, 7);
  const inside = hex(hash);
  hash.update(Buffer.from('abcde'), 0, 5);
  t.equal(hex(hash), inside);
  const other = createKeyedHash(key.map((byte) => byte ^ 1));
  other.update(Buffer.from('abcde'), 0, 5);
  t.not(hex(other), inside);
});

t.test('a key of another length is refused', async (t) => {
  t.throws(() => createKeyedHash(new Uint8Array(7)), RangeError);
});
