import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { messageSize } from './http-bytes.ts';

/** Kept HTTP connections on raw sockets, one request in flight on each: a load that costs as little as it can. */
export interface Wire {
  /** Sends a whole request on a free connection, waiting for one. @returns the answer's status */
  ask(request: Buffer): Promise<number>;
  close(): void;
}

interface Waiting {
  request: Buffer;
  resolve(status: number): void;
  reject(error: Error): void;
}

/** @param requests - asked on one connection before it is replaced, as servers close it after so many */
export function openWire(address: { host: string; port: number }, width: number, requests = 900): Wire {
  const free: Socket[] = [];
  const waiting: Waiting[] = [];
  const current = new Map<Socket, Waiting>();
  const asked = new Map<Socket, number>();
  let closed = false;

  function give(socket: Socket): void {
    const next = waiting.shift();
    if (next === undefined) return void free.push(socket);
    current.set(socket, next);
    asked.set(socket, (asked.get(socket) ?? 0) + 1);
    socket.write(next.request);
  }

  function dial(): void {
    const socket = connect({ ...address, noDelay: true }, () => give(socket));
    let held: Buffer | null = null;
    socket.on('data', (chunk) => {
      held = held === null ? chunk : Buffer.concat([held, chunk]);
      const size = messageSize(held);
      if (size === null || held.length < size) return;
      const status = Number(held.toString('latin1', 9, 12));
      held = null;
      const done = current.get(socket);
      current.delete(socket);
      done?.resolve(status);
      if ((asked.get(socket) ?? 0) < requests) return give(socket);
      socket.destroy();
    });
    const fail = (error: Error): void => {
      const lost = current.get(socket);
      current.delete(socket);
      lost?.reject(error);
    };
    socket.on('error', fail);
    socket.once('close', () => {
      fail(new Error('the connection was closed before an answer'));
      asked.delete(socket);
      const at = free.indexOf(socket);
      if (at >= 0) free.splice(at, 1);
      if (!closed) dial();
    });
  }

  for (let i = 0; i < width; i++) dial();
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        waiting.push({ request, resolve, reject });
        const socket = free.shift();
        if (socket !== undefined) give(socket);
      }),
    close() {
      closed = true;
      for (const socket of [...free, ...current.keys()]) socket.destroy();
    },
  };
}
