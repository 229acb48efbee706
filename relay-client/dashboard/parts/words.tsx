import type { ComponentChildren, JSX } from 'preact';
import { useNow } from '../data/use.ts';

/** Figures, times and states in words. */

const numbers = new Intl.NumberFormat('en', { maximumFractionDigits: 2 });

export function number(value: number | null | undefined): string {
  return value === null || value === undefined ? '–' : numbers.format(value);
}

/** So much in a second: small ones with decimals. */
export function rate(value: number | null): string {
  return value === null
    ? '–'
    : numbers.format(value < 10 ? value : value < 100 ? Math.round(value * 10) / 10 : Math.round(value));
}

const UNITS: readonly [ms: number, word: string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
];

/** A span in its largest unit, with one decimal where that says something: `1.5 s`, `12 min`, `3 d`. */
export function span(ms: number | null): string {
  if (ms === null) return '–';
  for (const [size, word] of UNITS) {
    if (ms < size) continue;
    const value = ms / size;
    return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} ${word}`;
  }
  return `${Math.round(ms)} ms`;
}

/** How long ago, counting on by itself; the exact time stands in the title. */
export function Ago({ at, none = '–' }: { at: string | number | null; none?: string }): JSX.Element {
  const now = useNow();
  if (at === null) return <span class="muted">{none}</span>;
  const time = new Date(at);
  const ms = now - time.getTime();
  const word =
    ms < 0 && ms > -5_000 ? 'now' : ms < 0 ? `in ${span(-ms)}` : ms < 1_000 ? 'now' : `${whole(ms)} ago`;
  return (
    <time dateTime={time.toISOString()} title={time.toLocaleString()}>
      {word}
    </time>
  );
}

/** As {@link span}, without decimals, so that a column of them stays calm. */
function whole(ms: number): string {
  for (const [size, word] of UNITS) if (ms >= size) return `${Math.floor(ms / size)} ${word}`;
  return 'now';
}

export type Tone = 'good' | 'warn' | 'bad' | 'busy' | 'calm';

const MARKS: Record<Tone, string> = { good: '●', warn: '▲', bad: '✕', busy: '◆', calm: '○' };

/** A state in a word, a shape and a colour, so that neither needs the other. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }): JSX.Element {
  return (
    <span class={`badge ${tone}`}>
      <span aria-hidden="true">{MARKS[tone]}</span> {children}
    </span>
  );
}

const STATE_TONES: Record<string, Tone> = {
  pending: 'busy',
  held: 'busy',
  in_session: 'busy',
  running: 'busy',
  up: 'good',
  cleared: 'good',
  completed: 'good',
  accepted: 'calm',
  idle: 'calm',
  superseded: 'calm',
  cancelled: 'calm',
  paused: 'warn',
  connecting: 'warn',
  draining: 'warn',
  expired: 'warn',
  down: 'bad',
  dead: 'bad',
  aborted: 'bad',
};

export function StateBadge({ state }: { state: string }): JSX.Element {
  return <Badge tone={STATE_TONES[state] ?? 'calm'}>{state.replaceAll('_', ' ')}</Badge>;
}
