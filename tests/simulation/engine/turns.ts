/**
 * What product and libraries put off to a later turn of Node's event loop (`setImmediate`) belongs to the moment in
 * which they did: simulated time may not move on before it is done. Nothing here is random: without sockets, files and
 * real timers, Node runs ticks, microtasks and immediates in the order in which they were asked for.
 */
export interface Turns {
  /** Resolves when nothing is put off any more. */
  settle(): Promise<void>;
  /** Gives Node's own functions back. */
  stop(): void;
}

export function watchTurns(): Turns {
  const { setImmediate: set, clearImmediate: clear } = globalThis;
  const putOff = new Set<NodeJS.Immediate>();
  globalThis.setImmediate = ((task: (...args: unknown[]) => void, ...args: unknown[]) => {
    const handle = set(() => {
      putOff.delete(handle);
      task(...args);
    });
    putOff.add(handle);
    return handle;
  }) as typeof setImmediate;
  globalThis.clearImmediate = (handle) => {
    if (handle !== undefined) putOff.delete(handle);
    clear(handle);
  };
  const turn = (resolve: () => void): void => void set(resolve);
  return {
    async settle() {
      do await new Promise<void>(turn);
      while (putOff.size > 0);
    },
    stop() {
      globalThis.setImmediate = set;
      globalThis.clearImmediate = clear;
    },
  };
}
