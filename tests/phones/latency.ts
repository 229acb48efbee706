/** Latencies in fixed memory: buckets growing by 10 % from 0.05 ms, so a percentile is right to within 10 %. */
export type LatencySummary = {
  count: number;
  /** Milliseconds; 0 while nothing was recorded. */
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
};

export type Latency = { record(ms: number): void; summary(): LatencySummary };

const FIRST_MS = 0.05;
const GROWTH = Math.log(1.1);
const BUCKETS = 160;

export function createLatency(): Latency {
  const buckets = new Uint32Array(BUCKETS);
  let count = 0;
  let total = 0;
  let max = 0;
  function percentile(share: number): number {
    let left = Math.ceil(count * share);
    for (let at = 0; at < BUCKETS; at += 1) {
      left -= buckets[at] ?? 0;
      if (left <= 0) return Math.min(max, FIRST_MS * Math.exp(at * GROWTH));
    }
    return max;
  }
  const round = (ms: number): number => Math.round(ms * 100) / 100;
  return {
    record(ms) {
      const at = Math.min(BUCKETS - 1, Math.max(0, Math.ceil(Math.log(ms / FIRST_MS) / GROWTH)));
      buckets[at] = (buckets[at] ?? 0) + 1;
      count += 1;
      total += ms;
      max = Math.max(max, ms);
    },
    summary() {
      if (count === 0) return { count, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 };
      const [p50, p90, p99] = [percentile(0.5), percentile(0.9), percentile(0.99)].map(round) as [
        number,
        number,
        number,
      ];
      return { count, mean: round(total / count), p50, p90, p99, max: round(max) };
    },
  };
}
