import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { endianness } from 'node:os';

/*
 * SQLite takes whatever in its log has a wrong checksum for the end of the log, since a crash may leave half a
 * transaction there. Damage in the middle would so take with it all that was committed after it, without a word.
 * Formats: sqlite.org/fileformat2.html §4, sqlite.org/walformat.html §2.
 */

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const MAGIC = 0x377f0682;
/** Only one transaction can have been under way: each is synced before the next begins. */
const UNFINISHED_COMMITS = 1;

const INDEX_HEADER_BYTES = 48;

/**
 * Says what is wrong with the log of the store at `path`, which must not be open; null = nothing is. There may be no log.
 */
export function findLogDamage(path: string): string | null {
  const log = `${path}-wal`;
  const claim = readIndex(`${path}-shm`);
  const size = existsSync(log) ? statSync(log).size : 0;
  if (size === 0) {
    return claim === null ? null : `its log is missing or empty, with ${claim.frames} pages that were in it`;
  }
  const handle = openSync(log, 'r');
  try {
    return checkLog(handle, claim);
  } finally {
    closeSync(handle);
  }
}

/** How many frames of which log were committed, as far as the last process knew. */
interface Claim {
  frames: number;
  salts: Buffer;
}

/**
 * Reads the index that the last process left beside the log. It is written after what it speaks of is synced, so what it
 * says is so; after a power cut it may say less than is there, or nothing.
 */
function readIndex(path: string): Claim | null {
  if (!existsSync(path)) return null;
  const bytes = readFileSync(path).subarray(0, 2 * INDEX_HEADER_BYTES);
  if (bytes.length < 2 * INDEX_HEADER_BYTES) return null;
  const header = bytes.subarray(0, INDEX_HEADER_BYTES);
  if (!header.equals(bytes.subarray(INDEX_HEADER_BYTES)) || header[12] !== 1) return null;
  const words = Buffer.from(header);
  if (endianness() === 'BE') words.swap32();
  const [sum0, sum1] = checksum(wordsOf(words.subarray(0, 40)), 0, 0);
  if (words.readUInt32LE(40) !== sum0 || words.readUInt32LE(44) !== sum1) return null;
  const frames = words.readUInt32LE(16);
  return frames === 0 ? null : { frames, salts: Buffer.from(header.subarray(32, 40)) };
}

function checkLog(handle: number, claim: Claim | null): string | null {
  const header = Buffer.alloc(HEADER_BYTES);
  const whole = readSync(handle, header, 0, HEADER_BYTES, 0) === HEADER_BYTES;
  const magic = header.readUInt32BE(0);
  const bigEndian = magic === MAGIC + 1;
  const sums = checksum(wordsOf(asLittleEndian(header.subarray(0, 24), bigEndian)), 0, 0);
  if (
    !whole ||
    (magic & ~1) >>> 0 !== MAGIC ||
    header.readUInt32BE(24) !== sums[0] ||
    header.readUInt32BE(28) !== sums[1]
  ) {
    return 'the header of its log is damaged';
  }
  const pageSize = header.readUInt32BE(8);
  const salts = header.subarray(16, 24);
  const promised = claim !== null && claim.salts.equals(salts) ? claim.frames : 0;
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + pageSize);
  let [sum0, sum1] = sums;
  let good = 0;
  let broken = false;
  let commitsAfter = 0;
  for (let at = HEADER_BYTES; ; at += frame.length) {
    if (readSync(handle, frame, 0, frame.length, at) < frame.length) break;
    const ofThisLog = frame.subarray(8, 16).equals(salts);
    if (broken) {
      if (ofThisLog && frame.readUInt32BE(4) !== 0) commitsAfter++;
      continue;
    }
    const stored = [frame.readUInt32BE(16), frame.readUInt32BE(20)];
    const summed = Buffer.concat([frame.subarray(0, 8), frame.subarray(FRAME_HEADER_BYTES)]);
    [sum0, sum1] = checksum(wordsOf(asLittleEndian(summed, bigEndian)), sum0, sum1);
    if (ofThisLog && stored[0] === sum0 && stored[1] === sum1) good++;
    else {
      broken = true;
      if (ofThisLog && frame.readUInt32BE(4) !== 0) commitsAfter++;
    }
  }
  if (good < promised) return `its log is damaged: ${good} of ${promised} pages in it are whole`;
  if (commitsAfter > UNFINISHED_COMMITS) {
    return `its log is damaged after ${good} pages, and ${commitsAfter} commits stand behind that`;
  }
  return null;
}

function asLittleEndian(bytes: Buffer, bigEndian: boolean): Buffer {
  return bigEndian ? Buffer.from(bytes).swap32() : bytes;
}

function wordsOf(bytes: Buffer): Uint32Array {
  if (endianness() === 'LE' && bytes.byteOffset % 4 === 0) {
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  }
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(i * 4));
}

function checksum(words: Uint32Array, from0: number, from1: number): [number, number] {
  let sum0 = from0;
  let sum1 = from1;
  for (let i = 0; i < words.length; i += 2) {
    sum0 = (sum0 + words[i]! + sum1) >>> 0;
    sum1 = (sum1 + words[i + 1]! + sum0) >>> 0;
  }
  return [sum0, sum1];
}
