import type { CertificateUse } from '../../shared/certificates.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { MetricSample } from '../../shared/protocol.ts';

/** What a proxy's own metrics say, in the form that people look at. */
export interface ProxyFigures {
  /** Polls of all its sites; null until it has told twice. */
  polls: PollRate | null;
  /** The certificates that it shows. Its names are its own word: to be shown, never to be believed. */
  certificates: readonly CertificateUse[];
}

/** Polls per second. */
export interface PollRate {
  /** Answered 200. */
  idle: number;
  /** Answered 202. */
  called: number;
  /** Answered otherwise. */
  refused: number;
}

export interface FiguresOfProxies {
  take(url: string, samples: readonly MetricSample[]): void;
  /** Null = it told nothing lately. */
  of(url: string): ProxyFigures | null;
  /** Polls of all that these tell of; null = none does. */
  rate(urls: readonly string[]): PollRate | null;
}

/** Proxies tell every five seconds; what is older says nothing about now. */
const STALE_MS: Milliseconds = 20_000;
const MOST_CERTIFICATES = 100;
const NAME_CHARS = 100;

interface Told {
  at: Milliseconds;
  polls: PollRate;
  figures: ProxyFigures;
}

export function createFiguresOfProxies(clock: Clock): FiguresOfProxies {
  const told = new Map<string, Told>();

  function of(url: string): ProxyFigures | null {
    const last = told.get(url);
    return last === undefined || clock.monotonic() - last.at > STALE_MS ? null : last.figures;
  }

  return {
    take(url, samples) {
      const at = clock.monotonic();
      const polls = countPolls(samples);
      const before = told.get(url);
      const figures = {
        polls: before === undefined ? null : rateOf(before, { at, polls }),
        certificates: certificatesOf(samples, clock.wall()),
      };
      told.set(url, { at, polls, figures });
    },
    of,
    rate(urls) {
      const rates = urls.flatMap((url) => of(url)?.polls ?? []);
      const sum = (key: keyof PollRate): number => rates.reduce((all, rate) => all + rate[key], 0);
      return rates.length === 0
        ? null
        : { idle: sum('idle'), called: sum('called'), refused: sum('refused') };
    },
  };
}

function countPolls(samples: readonly MetricSample[]): PollRate {
  const count = { idle: 0, called: 0, refused: 0 };
  for (const { name, labels, value } of samples) {
    if (name !== 'sallyport_polls_total') continue;
    const { status } = labels;
    count[status === '200' ? 'idle' : status === '202' ? 'called' : 'refused'] += value;
  }
  return count;
}

/** Null where it counts from zero again, because it is another process. */
function rateOf(before: Pick<Told, 'at' | 'polls'>, now: Pick<Told, 'at' | 'polls'>): PollRate | null {
  const seconds = (now.at - before.at) / 1000;
  const per = (key: keyof PollRate): number => (now.polls[key] - before.polls[key]) / seconds;
  const rate = { idle: per('idle'), called: per('called'), refused: per('refused') };
  return Object.values(rate).every((each) => each >= 0 && Number.isFinite(each)) ? rate : null;
}

function certificatesOf(samples: readonly MetricSample[], now: Milliseconds): CertificateUse[] {
  return samples
    .filter(({ name, value }) => name === 'sallyport_certificate_left_seconds' && isTime(now + value * 1000))
    .slice(0, MOST_CERTIFICATES)
    .map(({ labels, value }) => ({
      name: (labels['certificate'] ?? '').slice(0, NAME_CHARS),
      notAfter: now + value * 1000,
    }));
}

/** Whether it can be written as a date (ECMA-262 §21.4.1.1). */
const isTime = (at: Milliseconds): boolean => Math.abs(at) <= 8.64e15;
