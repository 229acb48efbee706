/** Runs a scenario step by step and reports what failed. */
import { sum } from './expect.ts';
import { createGroups } from './groups.ts';
import { groupsOf } from './load.ts';
import type { Scenario, Step } from './schema.ts';
import { doStep } from './steps.ts';

export type StepReport = {
  step: number;
  line: number;
  what: string;
  /** Empty where it came out as it should. */
  failures: string[];
  ms: number;
};

export type GroupReport = {
  group: string;
  phones: number;
  polls: Record<string, number>;
  sessions: Record<string, number>;
};

export type ScenarioReport = {
  steps: StepReport[];
  groups: GroupReport[];
  /** Steps that were left out, since the scenario was stopped. */
  left: number;
  failed: number;
};

/**
 * Runs all steps, those after a failed one too: what fails later for the same reason is seen as well.
 *
 * @param onStep - told of each step when it is over
 * @param stop - ends the scenario before its next step
 */
export async function runScenario(
  scenario: Scenario,
  onStep: (report: StepReport) => void,
  stop: AbortSignal,
): Promise<ScenarioReport> {
  const groups = createGroups(scenario);
  const steps: StepReport[] = [];
  try {
    for (const step of scenario.steps) {
      if (stop.aborted) break;
      const began = performance.now();
      const failures = await within(
        step,
        scenario,
        (signal) => doStep(step, { scenario, groups, signal }),
        stop,
      );
      const { index, line } = step;
      const report = {
        step: index + 1,
        line,
        what: title(step),
        failures,
        ms: Math.round(performance.now() - began),
      };
      steps.push(report);
      onStep(report);
    }
  } finally {
    await Promise.all([...groups.values()].map(({ fleet }) => fleet.close()));
  }
  return {
    steps,
    groups: [...groups.values()].map((group) => ({
      group: group.name,
      phones: group.phones.length,
      polls: sum(group, 'pollsBy'),
      sessions: sum(group, 'sessionsBy'),
    })),
    left: scenario.steps.length - steps.length,
    failed: steps.filter(({ failures }) => failures.length > 0).length,
  };
}

/** A step may not take for ever: what a pause or an expectation asks for comes on top of the limit. */
async function within(
  step: Step,
  { step_s: limit }: Scenario,
  act: (signal: AbortSignal) => Promise<string[]>,
  stop: AbortSignal,
): Promise<string[]> {
  const own = ownTime(step);
  const end = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string[]>((resolve) => {
    timer = setTimeout(() => resolve([`not done after ${limit + own} s`]), (limit + own) * 1000);
    stop.addEventListener('abort', () => resolve(['stopped']), { signal: end.signal });
  });
  try {
    return await Promise.race([act(AbortSignal.any([stop, end.signal])), late]);
  } catch (error) {
    return [reasonOf(error)];
  } finally {
    clearTimeout(timer);
    end.abort();
  }
}

/** Seconds that a step asks for itself. */
function ownTime({ verb, with: what }: Step): number {
  if (verb === 'pause') return what;
  return typeof what === 'object' && 'within_s' in what ? what.within_s : 0;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // What `fetch` throws says why in its cause only.
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** A step in a few words. */
function title(step: Step): string {
  switch (step.verb) {
    case 'pause':
      return `pause ${step.with} s`;
    case 'request':
      return `request ${step.with.method} ${step.with.url}`;
    default:
      return `${step.verb.replace('_', ' ')} ${groupsOf(step).join(', ')}`;
  }
}
