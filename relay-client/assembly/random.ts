import { randomFillSync } from 'node:crypto';

const BLOCK_BYTES = 4_096;

/**
 * Gives random bytes of the system's generator. Small pieces come out of a block drawn at once, none of them twice: for
 * eight bytes the call costs more than reading the message of the phone that they are drawn for.
 *
 * @returns a function that gives `size` bytes, the caller's own
 */
export function createRandomBytes(): (size: number) => Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES);
  let used = BLOCK_BYTES;
  return (size) => {
    const given = Buffer.alloc(size);
    if (size > BLOCK_BYTES) return randomFillSync(given);
    if (used + size > BLOCK_BYTES) {
      randomFillSync(block);
      used = 0;
    }
    block.copy(given, 0, used, used + size);
    // What was given away is nobody else's to know.
    block.fill(0, used, used + size);
    used += size;
    return given;
  };
}
