import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { SallyportError } from '../../shared/errors.ts';
import type { MessageId } from './outbox.ts';

/** What is sealed of a message. Each is bound to its use: one cannot be put in another's place. */
export type SealedUse = 'actions' | 'results';

/**
 * Seals what carries passwords before it is written to the outbox's disk, and opens it again: AES-256-GCM, with a
 * random nonce, and with use and message id as associated data, so that what is sealed for one message opens in no
 * other. Sealed text is `sealed-1.KEY-ID.BASE64URL`.
 */
export interface Sealer {
  /** How everything begins that is sealed now: it names the key. */
  readonly mark: string;
  seal(use: SealedUse, id: MessageId, text: string): string;
  /** @throws SallyportError OUTBOX_KEY_MISSING, OUTBOX_DAMAGED */
  open(use: SealedUse, id: MessageId, sealed: string): string;
  /**
   * Turns the digest of something secret into one that says nothing to whoever lacks the key: a short password could
   * be found by trying from a plain digest.
   */
  digest(plain: string): string;
  /** Whether `digest` was made of `plain`, by whichever key; one that was never sealed is compared as it is. */
  matches(digest: string, plain: string): boolean;
  /**
   * Checks that every key that `marks` name is there; each is the beginning of something sealed or of a digest.
   *
   * @throws SallyportError OUTBOX_KEY_MISSING, OUTBOX_DAMAGED for what was not made here
   */
  checkKeys(marks: Iterable<string>): void;
}

/** A key, and the name by which what it sealed finds it. */
interface SealingKey {
  id: string;
  seal: Buffer;
  digest: Buffer;
}

export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ID_BYTES = 6;

const SEALED = 'sealed-1';
const DIGEST = 'digest-1';
const MARK = /^(?:sealed-1|digest-1)\.([\w-]{8})\./;

/** Characters at the beginning of something sealed, or of a digest, that name its key. */
export const MARK_CHARACTERS = 'sealed-1.'.length + (ID_BYTES * 4) / 3 + 1;

/**
 * @param keys - of 32 bytes each; the first one seals, all of them open
 * @param where - what to call the place of the keys in errors
 */
export function createSealer(keys: readonly Buffer[], where: string): Sealer {
  const known = new Map(keys.map(derive).map((key) => [key.id, key]));
  const [newest] = known.values();
  if (newest === undefined) throw new SallyportError('KEY_INVALID', `${where} holds no key`);

  function keyOf(mark: string): SealingKey {
    const id = MARK.exec(mark)?.[1];
    if (id === undefined) throw damaged('something in it that should be sealed is not');
    const key = known.get(id);
    if (key !== undefined) return key;
    throw new SallyportError(
      'OUTBOX_KEY_MISSING',
      `The outbox holds what was sealed with key ${id}, and ${where} has only ${[...known.keys()].join(', ')}. ` +
        'Put the key back that belongs to this outbox, as a further line; see "Keys of the outbox" in docs/operating.md.',
    );
  }

  return {
    mark: `${SEALED}.${newest.id}.`,
    seal(use, id, text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', newest.seal, nonce).setAAD(context(use, id));
      const parts = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
      return `${SEALED}.${newest.id}.${Buffer.concat(parts).toString('base64url')}`;
    },
    open(use, id, sealed) {
      const key = keyOf(sealed);
      const bytes = Buffer.from(sealed.slice(MARK_CHARACTERS), 'base64url');
      const end = Math.max(NONCE_BYTES, bytes.length - TAG_BYTES);
      try {
        const decipher = createDecipheriv('aes-256-gcm', key.seal, bytes.subarray(0, NONCE_BYTES), {
          authTagLength: TAG_BYTES,
        })
          .setAAD(context(use, id))
          .setAuthTag(bytes.subarray(end));
        return decipher.update(bytes.subarray(NONCE_BYTES, end), undefined, 'utf8') + decipher.final('utf8');
      } catch (cause) {
        throw damaged(`the ${use} of message ${id} are not what was sealed`, cause);
      }
    },
    digest: (plain) => `${DIGEST}.${newest.id}.${digestOf(newest, plain)}`,
    matches(digest, plain) {
      if (!digest.startsWith(`${DIGEST}.`)) return digest === plain;
      return digest.slice(MARK_CHARACTERS) === digestOf(keyOf(digest), plain);
    },
    checkKeys(marks) {
      for (const mark of marks) keyOf(mark);
    },
  };
}

function derive(secret: Buffer): SealingKey {
  const part = (name: string, size: number): Buffer =>
    Buffer.from(hkdfSync('sha256', secret, '', `sallyport outbox ${name}`, size));
  return {
    id: part('key id', ID_BYTES).toString('base64url'),
    seal: part('seal', KEY_BYTES),
    digest: part('digest', KEY_BYTES),
  };
}

const context = (use: SealedUse, id: MessageId): Buffer => Buffer.from(`${use} ${id}`);

function digestOf(key: SealingKey, plain: string): string {
  return createHmac('sha256', key.digest).update(plain).digest('base64url');
}

function damaged(what: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'OUTBOX_DAMAGED',
    `The outbox is damaged: ${what}. Put a backup in its place, or cancel what cannot be read.`,
    { cause },
  );
}
