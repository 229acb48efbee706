import type { Gate } from '../fixtures/gate.ts';

const FIGURES = {
  memory: 'process_resident_memory_bytes',
  heap: 'nodejs_heap_size_used_bytes',
  descriptors: 'process_open_fds',
  handles: 'nodejs_active_handles_total',
} as const;

export type Figure = keyof typeof FIGURES;
export type Watched = 'relay' | 'proxy';

/** The figures of one program at one moment. */
interface Sample {
  pid: number;
  /** Minutes since the watch began. */
  at: number;
  figures: Record<Figure, number>;
}

/** How a figure went over the longest time that one process lived. */
export interface Trend {
  program: Watched;
  figure: Figure;
  first: number;
  last: number;
  most: number;
  /** Of the line that fits best, for each minute. */
  slope: number;
  minutes: number;
}

export interface Watch {
  look(): Promise<void>;
  trends(): Trend[];
}

/** What a program fills at first, caches and pools, is no leak: samples of its first minutes are left out. */
const WARM_SHARE = 0.3;

export function createWatch(gate: Gate): Watch {
  const began = performance.now();
  const samples: Record<Watched, Sample[]> = { relay: [], proxy: [] };

  async function lookAt(program: Watched, url: string): Promise<void> {
    const { pid } = gate[program];
    const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(2_000) }).catch(() => null);
    const text = (await response?.text().catch(() => null)) ?? null;
    // It is down or stopped; that is what the faults are for.
    if (text === null) return;
    const read = (name: string): number =>
      Number(new RegExp(`^sallyport_${program}_${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
    const figures = Object.fromEntries(
      Object.entries(FIGURES).map(([figure, name]) => [figure, read(name)]),
    ) as Record<Figure, number>;
    samples[program].push({ pid, at: (performance.now() - began) / 60_000, figures });
  }

  return {
    look: async () => void (await Promise.all([lookAt('relay', gate.api), lookAt('proxy', gate.ops)])),
    trends: () =>
      (['relay', 'proxy'] as const).flatMap((program) => {
        const life = longestLife(samples[program]);
        const settled = life.slice(Math.floor(life.length * WARM_SHARE));
        return (Object.keys(FIGURES) as Figure[]).map((figure) => trend(program, figure, settled));
      }),
  };
}

function longestLife(samples: Sample[]): Sample[] {
  const lives = Map.groupBy(samples, ({ pid }) => pid);
  return [...lives.values()].sort((a, b) => b.length - a.length)[0] ?? [];
}

function trend(program: Watched, figure: Figure, samples: Sample[]): Trend {
  const points = samples.map(({ at, figures }) => [at, figures[figure]] as const);
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [atMean, valueMean] = [mean(points.map(([at]) => at)), mean(points.map(([, value]) => value))];
  const spread = points.reduce((sum, [at]) => sum + (at - atMean) ** 2, 0);
  const common = points.reduce((sum, [at, value]) => sum + (at - atMean) * (value - valueMean), 0);
  return {
    program,
    figure,
    first: points[0]?.[1] ?? Number.NaN,
    last: points.at(-1)?.[1] ?? Number.NaN,
    most: Math.max(...points.map(([, value]) => value)),
    slope: spread === 0 ? 0 : common / spread,
    minutes: (points.at(-1)?.[0] ?? 0) - (points[0]?.[0] ?? 0),
  };
}
