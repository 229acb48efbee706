import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { listenError } from './address.ts';
import type { Address } from './address.ts';

/** Connections that the system queues before they are accepted. */
const BACKLOG = 4_096;

/**
 * Whether a listener may stand beside one of another process at the same address: `alone` is refused where somebody
 * listens already, `beside` is not, if that one was opened by the same user with either word.
 */
export type Sharing = 'alone' | 'beside';

/** Where the system shares out connections between listeners at one address (SO_REUSEPORT). */
const canShare = process.platform === 'linux';

/**
 * Listens and resolves to the address that was bound (port 0 = a free one).
 *
 * @param who - what wants to listen, as a sentence begins: `The relay door`
 * @param sharing - default: nobody can ever listen beside it
 * @throws SallyportError ADDRESS_IN_USE when something else listens there, ADDRESS_INVALID otherwise
 */
export async function listen(
  server: Server,
  address: Address,
  who: string,
  sharing?: Sharing,
): Promise<Address> {
  if (sharing === 'alone' && canShare) await ensureFree(address, who);
  return new Promise((resolve, reject) => {
    const failed = (cause: Error): void => reject(listenError(who, address, cause));
    server.once('error', failed);
    const reusePort = sharing !== undefined && canShare;
    server.listen({ host: address.host, port: address.port, backlog: BACKLOG, reusePort }, () => {
      server.off('error', failed);
      const bound = server.address();
      resolve(
        typeof bound === 'object' && bound !== null ? { host: bound.address, port: bound.port } : address,
      );
    });
  });
}

/**
 * Makes sure that nobody has the port: to one that shares it the system would let a second program of the same user join
 * in silently.
 *
 * @throws SallyportError ADDRESS_IN_USE, ADDRESS_INVALID
 */
export async function ensureFree(address: Address, who: string): Promise<void> {
  if (address.port === 0) return;
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(who, address, error)));
    server.listen(address.port, address.host, () => server.close(() => resolve()));
  });
}
