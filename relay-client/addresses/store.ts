import type { DeviceId } from '../../shared/device-id.ts';

/** An address that is a device's for good. */
export interface Assignment {
  /** IPv4, as `127.64.0.1`. */
  readonly address: string;
  readonly device: DeviceId;
}

/** Keeps assignments. There is one call of `append` at a time. */
export interface AddressStore {
  /** What it held when it was opened. */
  readonly kept: readonly Assignment[];
  /**
   * Resolves once all of them are durable.
   *
   * @throws SallyportError FILE_UNWRITABLE; then none of them is kept
   */
  append(assignments: readonly Assignment[]): Promise<void>;
  close(): Promise<void>;
}

/** A store that ends with the process. */
export function createMemoryStore(kept: readonly Assignment[] = []): AddressStore {
  const all = [...kept];
  return {
    kept: all,
    append(assignments) {
      all.push(...assignments);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}
