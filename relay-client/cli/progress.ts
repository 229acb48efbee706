import type { Io } from './io.ts';

/** Characters of a bar. */
const WIDTH = 30;
/** How much further it must have come for another line, where lines cannot be drawn over. */
const STEP = 0.1;

/** Shows how far something has come: a bar that is drawn over on a terminal, a line now and then elsewhere. */
export interface Progress {
  /** @param share - from 0 to 1 */
  show(share: number, text: string): void;
  /** Leaves the last state standing. */
  end(): void;
}

export function createProgress(io: Pick<Io, 'err' | 'terminal'>): Progress {
  let shown = '';
  let told = -1;
  return {
    show(share, text) {
      if (!io.terminal) {
        if (share < 1 && share - told < STEP && told >= 0) return;
        if (share === told) return;
        told = share;
        io.err(`${percent(share)} ${text}\n`);
        return;
      }
      const full = Math.round(share * WIDTH);
      const line = `[${'#'.repeat(full)}${'.'.repeat(WIDTH - full)}] ${percent(share)} ${text}`;
      // What was longer before must not show behind it.
      io.err(`\r${line.padEnd(shown.length)}`);
      shown = line;
    },
    end() {
      if (io.terminal && shown !== '') io.err('\n');
      shown = '';
    },
  };
}

const percent = (share: number): string => `${String(Math.floor(share * 100)).padStart(3)} %`;
