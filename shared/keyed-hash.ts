/** The length of a key in bytes. */
export const HASH_KEY_BYTES = 8;

/**
 * HalfSipHash-2-4 with 64 bits of output (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; its
 * 32-bit-word variant from the authors' reference code). Keyed, so that nobody outside can choose device ids
 * that fall onto one place of a table.
 */
export interface KeyedHash {
  /** Hashes `bytes[start, end)`; the result is in {@link low} and {@link high} until the next call. */
  update(bytes: Uint8Array, start: number, end: number): void;
  /** The first 32 bits of the last result, unsigned. */
  readonly low: number;
  /** The last 32 bits of the last result, unsigned. */
  readonly high: number;
}

/**
 * @param key - {@link HASH_KEY_BYTES} random bytes
 * @throws RangeError for a key of another length
 */
export function createKeyedHash(key: Uint8Array): KeyedHash {
  if (key.length !== HASH_KEY_BYTES) {
    throw new RangeError(`A hash key has ${HASH_KEY_BYTES} bytes, this one has ${key.length}`);
  }
  const words = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return new HalfSipHash(words.getInt32(0, true), words.getInt32(4, true));
}

class HalfSipHash implements KeyedHash {
  low = 0;
  high = 0;
  readonly #key0: number;
  readonly #key1: number;

  constructor(key0: number, key1: number) {
    this.#key0 = key0;
    this.#key1 = key1;
  }

  update(bytes: Uint8Array, start: number, end: number): void {
    let v0 = this.#key0;
    let v1 = this.#key1 ^ 0xee;
    let v2 = this.#key0 ^ 0x6c796765;
    let v3 = this.#key1 ^ 0x74656462;
    const length = end - start;
    const blocks = (length >> 2) + 1;
    let at = start;
    // After the message's blocks come two of finishing: 4 rounds for each half of the output.
    for (let block = 0; block < blocks + 2; block++) {
      let word = 0;
      let rounds = 2;
      if (block < blocks - 1) {
        word =
          (bytes[at] ?? 0) |
          ((bytes[at + 1] ?? 0) << 8) |
          ((bytes[at + 2] ?? 0) << 16) |
          ((bytes[at + 3] ?? 0) << 24);
        at += 4;
      } else if (block === blocks - 1) {
        word = length << 24;
        for (let shift = 0; at < end; at++, shift += 8) word |= (bytes[at] ?? 0) << shift;
      } else {
        rounds = 4;
        if (block === blocks) v2 ^= 0xee;
        else v1 ^= 0xdd;
      }
      v3 ^= word;
      for (let round = 0; round < rounds; round++) {
        v0 = (v0 + v1) | 0;
        v1 = (v1 << 5) | (v1 >>> 27);
        v1 ^= v0;
        v0 = (v0 << 16) | (v0 >>> 16);
        v2 = (v2 + v3) | 0;
        v3 = (v3 << 8) | (v3 >>> 24);
        v3 ^= v2;
        v0 = (v0 + v3) | 0;
        v3 = (v3 << 7) | (v3 >>> 25);
        v3 ^= v0;
        v2 = (v2 + v1) | 0;
        v1 = (v1 << 13) | (v1 >>> 19);
        v1 ^= v2;
        v2 = (v2 << 16) | (v2 >>> 16);
      }
      v0 ^= word;
      if (block === blocks) this.low = (v1 ^ v3) >>> 0;
    }
    this.high = (v1 ^ v3) >>> 0;
  }
}
