import type { DeviceId } from '../../shared/device-id.ts';
import { SallyportError } from '../../shared/errors.ts';
import { holds, numberOf, textOf } from './range.ts';
import type { AddressRange } from './range.ts';
import type { AddressStore, Assignment } from './store.ts';

/** The addresses of one range: each device its own, for good. */
export interface SourceAddresses {
  readonly range: AddressRange;
  /** The device's address; null where it has none yet. */
  of(device: DeviceId): string | null;
  /**
   * The device's address, given to it now where it had none. Resolves once that is durable.
   *
   * @throws SallyportError ADDRESSES_EXHAUSTED; FILE_UNWRITABLE. The device has no address then
   */
  assign(device: DeviceId): Promise<string>;
}

/** Which address is whose. No address is ever given to a second device. */
export interface AddressBook {
  /**
   * The addresses of a range; the same for every caller who names it, with what the first one reserved.
   *
   * @param reserved - addresses that nobody may get, such as the machine's own
   * @throws SallyportError FILE_UNREADABLE where the store gives two addresses of the range to one device
   */
  range(range: AddressRange, reserved?: readonly string[]): SourceAddresses;
  /** The device that has the address, in one of the ranges in use. */
  deviceAt(address: string): DeviceId | null;
  /** Waits for what is being written. */
  close(): Promise<void>;
}

interface Waiting {
  assignment: Assignment;
  settle: (error: Error | null) => void;
}

export function createAddressBook(store: AddressStore): AddressBook {
  const owners = new Map(store.kept.map(({ address, device }) => [numberOf(address), device]));
  const ranges = new Map<string, SourceAddresses>();
  let waiting: Waiting[] = [];
  let writing: Promise<void> | null = null;

  /** Writes all that waits in one go, then what came meanwhile. */
  const write = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const failure = await store.append(batch.map(({ assignment }) => assignment)).then(
        () => null,
        (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
      );
      for (const { settle } of batch) settle(failure);
    }
    writing = null;
  };
  const keep = (assignment: Assignment): Promise<void> =>
    new Promise((resolve, reject) => {
      waiting.push({ assignment, settle: (error) => (error === null ? resolve() : reject(error)) });
      writing ??= write();
    });

  const open = (range: AddressRange, reserved: readonly string[]): SourceAddresses => {
    const known = new Map<DeviceId, string>();
    const underWay = new Map<DeviceId, Promise<string>>();
    const taken = new Set(reserved.map(numberOf));
    /** Given, but could not be written: nobody's again. */
    const returned: number[] = [];
    let next = range.first;
    for (const [address, device] of owners) {
      if (!holds(range, address)) continue;
      if (known.has(device)) {
        throw new SallyportError(
          'FILE_UNREADABLE',
          `device ${device} has two source addresses in ${range.text}, ${known.get(device)} and ${textOf(address)}; ` +
            'take one of the lines out of the file of addresses',
        );
      }
      known.set(device, textOf(address));
      taken.add(address);
    }

    const pick = (): number => {
      const again = returned.pop();
      if (again !== undefined) return again;
      while (taken.has(next)) next += 1;
      if (next <= range.last) return next++;
      throw new SallyportError(
        'ADDRESSES_EXHAUSTED',
        `all ${range.last - range.first + 1} source addresses of ${range.text} are in use; ` +
          'choose a wider range, or take devices that are gone out of the file of addresses',
      );
    };

    const give = async (device: DeviceId): Promise<string> => {
      const picked = pick();
      const address = textOf(picked);
      try {
        await keep({ address, device });
      } catch (error) {
        returned.push(picked);
        throw error;
      }
      owners.set(picked, device);
      known.set(device, address);
      return address;
    };

    return {
      range,
      of: (device) => known.get(device) ?? null,
      assign(device) {
        const address = known.get(device);
        if (address !== undefined) return Promise.resolve(address);
        let given = underWay.get(device);
        if (given === undefined) {
          given = give(device);
          underWay.set(device, given);
          const done = (): void => void underWay.delete(device);
          given.then(done, done);
        }
        return given;
      },
    };
  };

  return {
    range(range, reserved = []) {
      let opened = ranges.get(range.text);
      if (opened === undefined) ranges.set(range.text, (opened = open(range, reserved)));
      return opened;
    },
    deviceAt(address) {
      const number = numberOf(address);
      const used = [...ranges.values()].some(({ range }) => holds(range, number));
      return used ? (owners.get(number) ?? null) : null;
    },
    async close() {
      await writing;
      await store.close();
    },
  };
}
