import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { SallyportError } from '../../shared/errors.ts';
import { createAddressBook } from './book.ts';
import type { AddressBook } from './book.ts';
import { openFileStore } from './file-store.ts';
import { parseAddressRange, textOf } from './range.ts';
import type { AddressRange } from './range.ts';

/**
 * Opens the book of addresses in the outbox's directory, with `ranges` in use. Neither an address of the machine's
 * interfaces nor one of `reserved` is given to a device.
 *
 * @param ranges - as `127.64.0.0/16`
 * @throws SallyportError ADDRESS_INVALID where a range is none, or none of this machine; FILE_UNREADABLE, FILE_UNWRITABLE
 */
export async function openAddresses(
  directory: string,
  ranges: readonly string[],
  reserved: readonly string[],
): Promise<AddressBook> {
  const parsed = ranges.map(parseAddressRange);
  for (const range of parsed) await ensureOwn(range);
  const book = createAddressBook(await openFileStore(directory));
  const interfaces = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const own = interfaces.filter(({ family }) => family === 'IPv4').map(({ address }) => address);
  try {
    for (const range of parsed) book.range(range, [...own, ...reserved]);
  } catch (error) {
    await book.close();
    throw error;
  }
  return book;
}

/**
 * Makes sure that the addresses of a range are this machine's.
 *
 * @throws SallyportError ADDRESS_INVALID
 */
export async function ensureOwn({ text, first, last }: AddressRange): Promise<void> {
  for (const address of [first, last]) await tryOut(textOf(address), text);
}

/** Whether the machine takes the address for its own; otherwise no connection could be made from there. */
function tryOut(address: string, range: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (cause) =>
      reject(
        new SallyportError(
          'ADDRESS_INVALID',
          `source addresses ${range}: this machine does not take ${address} for its own (${cause.message}); ` +
            `on Linux: ip route add local ${range} dev lo`,
          { cause },
        ),
      ),
    );
    server.listen({ host: address, port: 0 }, () => server.close(() => resolve()));
  });
}
