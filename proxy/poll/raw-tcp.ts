import type { Server } from 'node:net';

/**
 * The calls of Node's own TCP handles, below its streams, for plain polls only. A poll is one read and one write of
 * some hundred bytes; the stream around them costs more than both. Measured beside each other on one core (processor
 * time for each poll): new connections 78 µs by streams and 53 µs by handles (nginx 46), kept ones 20 and 12 (nginx
 * 12).
 *
 * These calls are not part of Node's documented interface. So they are used only where {@link findRawTcp} finds them as
 * they were in the version they were tested with; anywhere else, and for TLS and behind balancers, polls go through
 * `net.Socket`. The tests of the poll door run on both.
 */
export interface RawTcp {
  /** Hands the connections that `server` accepts to `accept` as handles, instead of making sockets of them. */
  takeOver(server: Server, accept: (handle: RawHandle) => void): void;
  /** The buffer into which every handle reads; what is in it is good until the reading call returns. */
  readonly input: Buffer;
  /** How many bytes the read that is being told of brought, or a negative number: the end, or an error. */
  bytesRead(): number;
  /**
   * Writes; what the system does not take at once is queued, and `bytes` is kept until then.
   *
   * @returns false where the connection is broken
   */
  write(handle: RawHandle, bytes: Buffer): boolean;
  /** Closes this side when all that is queued has been sent, then calls `done`. @returns false where it is broken */
  shutdown(handle: RawHandle, done: () => void): boolean;
}

/** One accepted connection. */
export interface RawHandle {
  onread: (this: RawHandle) => void;
  useUserBuffer(buffer: Buffer): void;
  readStart(): number;
  /** Bytes queued. */
  readonly writeQueueSize: number;
  setNoDelay(on: boolean): number;
  /** Fills in `address`. @returns not 0 where the peer is gone */
  getpeername(out: { address?: string }): number;
  close(): void;
}

interface Writing {
  oncomplete: () => void;
  buffer?: Buffer;
}

interface WritableHandle extends RawHandle {
  writeBuffer(writing: Writing, bytes: Buffer): number;
  shutdown(ending: Writing): number;
}

/** The version of Node whose handles these are; another one has to pass the tests first. */
const TESTED_MAJOR = 24;
const INPUT_BYTES = 65_536;
const HANDLE_CALLS = [
  'useUserBuffer',
  'readStart',
  'writeBuffer',
  'shutdown',
  'setNoDelay',
  'getpeername',
  'close',
];

/** @returns the reason why handles cannot be used here, where they cannot */
export function findRawTcp(): RawTcp | string {
  if (Number(process.versions.node.split('.')[0]) !== TESTED_MAJOR) {
    return `Node ${process.versions.node} is not ${TESTED_MAJOR}`;
  }
  const binding = (process as unknown as { binding?: (name: string) => Record<string, unknown> }).binding;
  if (typeof binding !== 'function') return 'Node has no process.binding';
  try {
    const { WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } =
      binding('stream_wrap');
    const { TCP } = binding('tcp_wrap');
    if (!isClass(WriteWrap) || !isClass(ShutdownWrap) || !isClass(TCP))
      return 'Node has other handle classes';
    if (!(streamBaseState instanceof Int32Array)) return 'Node keeps the state of streams elsewhere';
    if (typeof kReadBytesOrError !== 'number' || typeof kLastWriteWasAsync !== 'number') {
      return 'Node names the state of streams otherwise';
    }
    const missing = HANDLE_CALLS.find((name) => !(name in (TCP.prototype as object)));
    if (missing !== undefined) return `Node's handles have no ${missing}`;
    return rawTcp(WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync);
  } catch (error) {
    return `Node does not show its handles: ${String(error)}`;
  }
}

type Class = new () => Writing;

function isClass(value: unknown): value is Class {
  return typeof value === 'function';
}

function rawTcp(
  WriteWrap: Class,
  ShutdownWrap: Class,
  state: Int32Array,
  bytesReadAt: number,
  asyncAt: number,
): RawTcp {
  const nothing = (): void => undefined;
  const newWriting = (): Writing => Object.assign(new WriteWrap(), { oncomplete: nothing });
  // A write that the system took at once leaves its request unused, ready for the next one.
  let writing = newWriting();
  return {
    input: Buffer.allocUnsafeSlow(INPUT_BYTES),
    takeOver(server, accept) {
      const listening = (server as unknown as { _handle: { onconnection: unknown } })._handle;
      if (typeof listening.onconnection !== 'function')
        throw new TypeError('A listening handle without onconnection');
      listening.onconnection = (error: number, handle: RawHandle | undefined): void => {
        // An error is the system's lack of descriptors or memory: the connection that was not accepted is still queued.
        if (error === 0 && handle !== undefined) accept(handle);
      };
    },
    bytesRead: () => state[bytesReadAt] ?? 0,
    write(handle, bytes) {
      const error = (handle as WritableHandle).writeBuffer(writing, bytes);
      if (state[asyncAt] !== 0) {
        writing.buffer = bytes;
        writing = newWriting();
      }
      return error === 0;
    },
    shutdown(handle, done) {
      const ending = Object.assign(new ShutdownWrap(), { oncomplete: done });
      return (handle as WritableHandle).shutdown(ending) === 0;
    },
  };
}
