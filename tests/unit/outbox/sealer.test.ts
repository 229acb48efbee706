import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { Test } from 'tap';
import { createSealer, MARK_CHARACTERS } from '../../../relay-client/outbox/sealer.ts';
import { isSallyportError } from '../../../shared/errors.ts';
import type { ErrorCode } from '../../../shared/errors.ts';

const key = (fill: number): Buffer => Buffer.alloc(32, fill);
const only = (fill: number) => createSealer([key(fill)], 'outbox.key');

function throwsCode(t: Test, code: ErrorCode, attempt: () => unknown, pattern = /./): void {
  try {
    t.fail(`gave ${String(attempt())}`);
  } catch (error) {
    t.ok(isSallyportError(error, code), code, { found: error });
    t.match(error, { message: pattern });
  }
}

t.test('what was sealed opens again, for its message and its use only', async (t) => {
  const sealer = only(1);
  for (const text of ['', 'user-pwd=123456', '„Ärger“ 🔑', 'x'.repeat(2 ** 20)]) {
    const sealed = sealer.seal('actions', 'm-1', text);
    t.equal(sealer.open('actions', 'm-1', sealed), text);
    t.notMatch(sealed, /123456|user-pwd/);
    throwsCode(t, 'OUTBOX_DAMAGED', () => sealer.open('actions', 'm-2', sealed), /actions of message m-2/);
    throwsCode(t, 'OUTBOX_DAMAGED', () => sealer.open('results', 'm-1', sealed));
  }
  t.not(sealer.seal('actions', 'm', 'same'), sealer.seal('actions', 'm', 'same'), 'never twice the same');
});

t.test('every changed character is noticed', async (t) => {
  const sealer = only(1);
  const sealed = sealer.seal('actions', 'm', 'admin-pwd');
  for (let at = 0; at < sealed.length; at++) {
    // Another 6 bits each time; the last character carries fewer.
    const swapped = at === sealed.length - 1 ? '' : sealed[at] === 'B' ? 'C' : 'B';
    const changed = sealed.slice(0, at) + swapped + sealed.slice(at + 1);
    t.throws(() => sealer.open('actions', 'm', changed), { name: 'SallyportError' }, `at ${at}`);
  }
  for (const short of ['', sealed.slice(0, MARK_CHARACTERS), sealed.slice(0, MARK_CHARACTERS + 16)]) {
    throwsCode(t, 'OUTBOX_DAMAGED', () => sealer.open('actions', 'm', short));
  }
  throwsCode(t, 'OUTBOX_DAMAGED', () => sealer.open('actions', 'm', 'never sealed'), /not/);
});

t.test('older keys open, the first one seals, and a missing one is named', async (t) => {
  const old = only(1).seal('actions', 'm', 'text');
  const rotated = createSealer([key(2), key(1)], 'outbox.key');
  t.equal(rotated.open('actions', 'm', old), 'text');
  const fresh = rotated.seal('actions', 'm', 'text');
  t.equal(only(2).open('actions', 'm', fresh), 'text');
  throwsCode(t, 'OUTBOX_KEY_MISSING', () => only(1).open('actions', 'm', fresh), /outbox\.key has only/);
  rotated.checkKeys([old, fresh.slice(0, MARK_CHARACTERS)]);
  throwsCode(t, 'OUTBOX_KEY_MISSING', () => only(2).checkKeys([fresh, old]));
});

t.test('a digest says the same of the same, and nothing without its key', async (t) => {
  const plain = 'digest of a short password';
  const digest = only(1).digest(plain);
  t.equal(only(1).digest(plain), digest);
  t.not(only(2).digest(plain), digest);
  t.notMatch(digest, plain);
  const rotated = createSealer([key(2), key(1)], 'outbox.key');
  t.ok(rotated.matches(digest, plain));
  t.notOk(rotated.matches(digest, 'other'));
  t.ok(rotated.matches(plain, plain), 'one that was not secret is compared as it is');
  throwsCode(t, 'OUTBOX_KEY_MISSING', () => only(2).matches(digest, plain));
});

t.test('keys of random bytes are told apart', async (t) => {
  const marks = new Set(
    Array.from({ length: 100 }, () =>
      createSealer([randomBytes(32)], 'k')
        .seal('actions', 'm', '')
        .slice(0, MARK_CHARACTERS),
    ),
  );
  t.equal(marks.size, 100);
  throwsCode(t, 'KEY_INVALID', () => createSealer([], 'outbox.key'));
});
