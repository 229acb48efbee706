import t from 'tap';
import { createRandomBytes } from '../../../relay-client/assembly/random.ts';

t.test('no random bytes are given twice, whatever sizes are asked for in between', (t) => {
  const random = createRandomBytes();
  const given = new Set<string>();
  const asked: Uint8Array[] = [];
  const SIZES = [8, 16, 8, 32, 4_096, 8, 5_000, 16];
  for (let i = 0; i < 4_000; i++) {
    const size = SIZES[i % SIZES.length] ?? 8;
    const bytes = random(size);
    if (bytes.length !== size) t.fail(`${bytes.length} bytes where ${size} were asked for`);
    asked.push(bytes);
    given.add(Buffer.from(bytes.subarray(0, 8)).toString('hex'));
  }
  t.equal(given.size, asked.length, 'each begins differently');
  const first = Buffer.from(asked[0] ?? []).toString('hex');
  asked.slice(1).forEach((bytes) => bytes.fill(0));
  t.equal(
    Buffer.from(asked[0] ?? []).toString('hex'),
    first,
    'what one caller does to its bytes changes none of another',
  );
  t.end();
});
