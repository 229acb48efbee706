import type { Server } from 'node:net';
import type { Address } from './address.ts';
import { formatAddress } from './address.ts';
import { describeError, SallyportError } from './errors.ts';

/**
 * Listens and resolves to the address that was bound (port 0 = a free one).
 *
 * @param what - what to call the listener in the error, such as `relay door`
 * @throws SallyportError ADDRESS_IN_USE when something else listens there, ADDRESS_INVALID otherwise
 */
export function listen(server: Server, address: Address, what: string): Promise<Address> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException): void => {
      const at = formatAddress(address);
      const [code, text] =
        cause.code === 'EADDRINUSE'
          ? (['ADDRESS_IN_USE', 'another program listens there; stop it or choose another port'] as const)
          : (['ADDRESS_INVALID', describeError(cause)] as const);
      reject(new SallyportError(code, `the ${what} cannot listen on ${at}: ${text}`, { cause }));
    };
    server.once('error', failed);
    server.listen({ host: address.host, port: address.port, backlog: 4_096 }, () => {
      server.off('error', failed);
      const bound = server.address();
      resolve(
        typeof bound === 'object' && bound !== null ? { host: bound.address, port: bound.port } : address,
      );
    });
  });
}
