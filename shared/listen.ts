import type { Server } from 'node:net';
import { listenError } from './address.ts';
import type { Address } from './address.ts';

/** Connections that the system queues before they are accepted. */
const BACKLOG = 4_096;

/**
 * Listens and resolves to the address that was bound (port 0 = a free one).
 *
 * @param who - what wants to listen, as a sentence begins: `The relay door`
 * @throws SallyportError ADDRESS_IN_USE when something else listens there, ADDRESS_INVALID otherwise
 */
export function listen(server: Server, address: Address, who: string): Promise<Address> {
  return new Promise((resolve, reject) => {
    const failed = (cause: Error): void => reject(listenError(who, address, cause));
    server.once('error', failed);
    server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, () => {
      server.off('error', failed);
      const bound = server.address();
      resolve(
        typeof bound === 'object' && bound !== null ? { host: bound.address, port: bound.port } : address,
      );
    });
  });
}
