import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { SeriesBody } from '../../api/shapes/relay.ts';
import { ask, describe } from '../data/api.ts';
import { Chart } from '../parts/chart.tsx';
import type { Line } from '../parts/chart.tsx';
import { Fault, Panel } from '../parts/blocks.tsx';
import { number, rate, span } from '../parts/words.tsx';

/** The relay keeps an hour; so do we. */
const POINTS = 360;

/** The last hour, which grows by a step every ten seconds. */
function useSeries(): { series: SeriesBody | null; fault: string | null } {
  const [series, setSeries] = useState<SeriesBody | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout>;
    let kept: SeriesBody | null = null;
    const look = async (): Promise<void> => {
      try {
        const last = kept?.at.at(-1);
        const query: string = last === undefined ? '' : `?after=${encodeURIComponent(last)}`;
        const next = await ask<SeriesBody>('GET', `v1/series${query}`);
        if (over) return;
        kept = kept === null ? next : joined(kept, next);
        setSeries(kept);
        setFault(null);
      } catch (error) {
        if (!over) setFault(describe(error));
      } finally {
        if (!over) timer = setTimeout(() => void look(), (kept?.step_s ?? 10) * 1000);
      }
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, []);
  return { series, fault };
}

function joined(past: SeriesBody, next: SeriesBody): SeriesBody {
  const join = <T,>(one: T[], other: T[]): T[] => [...one, ...other].slice(-POINTS);
  return {
    step_s: next.step_s,
    at: join(past.at, next.at),
    polls_idle: join(past.polls_idle, next.polls_idle),
    polls_called: join(past.polls_called, next.polls_called),
    polls_refused: join(past.polls_refused, next.polls_refused),
    held: join(past.held, next.held),
    sessions: join(past.sessions, next.sessions),
    sessions_ended: join(past.sessions_ended, next.sessions_ended),
    pickup_median_ms: join(past.pickup_median_ms, next.pickup_median_ms),
    pickup_longest_ms: join(past.pickup_longest_ms, next.pickup_longest_ms),
  };
}

export function Charts({ theme }: { theme: string }): JSX.Element {
  const { series, fault } = useSeries();
  const at = useMemo(() => (series?.at ?? []).map((time) => Date.parse(time) / 1000), [series]);
  const charts = useMemo(() => (series === null ? [] : chartsOf(series)), [series]);
  return (
    <Panel title="The last hour">
      <Fault text={fault} />
      {series !== null && series.at.length < 2 ? (
        <p class="muted">The relay has just started: the first figures come within twenty seconds.</p>
      ) : (
        <div class="charts">
          {charts.map(({ title, lines, show }) => (
            <Chart
              key={title}
              title={title}
              at={at}
              lines={lines}
              show={show}
              theme={theme}
              summary={summary(title, lines, show)}
            />
          ))}
        </div>
      )}
    </Panel>
  );
}

function chartsOf(series: SeriesBody): { title: string; lines: Line[]; show: (value: number) => string }[] {
  return [
    {
      title: 'Polls per second',
      show: rate,
      lines: [
        { label: '200', colour: 'line-1', values: series.polls_idle },
        { label: '202', colour: 'line-2', values: series.polls_called, dashed: true },
      ],
    },
    {
      title: 'Pending messages',
      show: number,
      lines: [{ label: 'held', colour: 'line-1', values: series.held }],
    },
    {
      title: 'Sessions',
      show: number,
      lines: [
        { label: 'running', colour: 'line-1', values: series.sessions },
        { label: 'ended in 10 s', colour: 'line-2', values: series.sessions_ended, dashed: true },
      ],
    },
    {
      title: 'Pick-up time',
      show: span,
      lines: [
        { label: 'median', colour: 'line-1', values: series.pickup_median_ms, bridged: true },
        { label: 'longest', colour: 'line-2', values: series.pickup_longest_ms, dashed: true, bridged: true },
      ],
    },
  ];
}

function summary(title: string, lines: readonly Line[], show: (value: number) => string): string {
  const said = lines.map(({ label, values }) => {
    const known = values.filter((value) => value !== null);
    const last = known.at(-1);
    return last === undefined
      ? `${label}: no figures`
      : `${label}: last ${show(last)}, most ${show(Math.max(...known))}`;
  });
  return `${title} over the last hour. ${said.join('; ')}.`;
}
