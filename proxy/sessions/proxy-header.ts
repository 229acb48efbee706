import type { Socket } from 'node:net';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { parseProxyHeader } from '../proxy-protocol.ts';

/**
 * Reads the PROXY header that a balancer sends first. What follows it stays in the socket, which is paused.
 *
 * @returns the real peer; null where the balancer speaks for itself
 * @throws Error when there is no such header, or not within `within`
 */
export function readProxyHeader(
  socket: Socket,
  clock: Clock,
  within: Milliseconds,
): Promise<{ address: string; port: number } | null> {
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0);
    const late = clock.after(within, () => settle(() => reject(new Error('no PROXY header in time'))));
    const settle = (outcome: () => void): void => {
      late.cancel();
      socket.off('data', take).off('end', gone).off('close', gone).off('error', gone).pause();
      outcome();
    };
    const gone = (): void => settle(() => reject(new Error('the connection ended before its PROXY header')));
    const take = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      const header = parseProxyHeader(bytes);
      if (header.result === 'more') return;
      if (header.result === 'refused') return settle(() => reject(new Error(header.reason)));
      settle(() => {
        if (bytes.length > header.bytes) socket.unshift(bytes.subarray(header.bytes));
        resolve(header.source);
      });
    };
    socket.on('data', take).on('end', gone).on('close', gone).on('error', gone);
    // It was accepted as paused, and stays so for a mere listener.
    socket.resume();
  });
}
