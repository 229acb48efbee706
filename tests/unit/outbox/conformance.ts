import type { Test } from 'tap';
import { campaigns } from './conformance/campaigns.ts';
import { ending } from './conformance/ending.ts';
import { following } from './conformance/following.ts';
import type { MakeLab } from './conformance/lab.ts';
import { limits } from './conformance/limits.ts';
import { pushing } from './conformance/pushing.ts';
import { reading } from './conformance/reading.ts';
import { results } from './conformance/results.ts';
import { time } from './conformance/time.ts';

/** What every outbox engine must do. `makeLab` gives each test a store of its own, and sees to its closing. */
export function outboxConformance(t: Test, makeLab: MakeLab): void {
  for (const part of [pushing, ending, results, time, limits, reading, following, campaigns])
    part(t, makeLab);
}
