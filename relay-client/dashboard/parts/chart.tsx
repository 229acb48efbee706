import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

export interface Line {
  label: string;
  /** A custom property of the style sheet that holds its colour. */
  colour: string;
  /** Dashed, so that two lines are told apart without their colours. */
  dashed?: boolean;
  /** Drawn on over steps without a value, in which just nothing happened. */
  bridged?: boolean;
  values: readonly (number | null)[];
}

export interface ChartProps {
  title: string;
  /** Seconds since 1970, as many as each line has values. */
  at: readonly number[];
  lines: readonly Line[];
  show: (value: number) => string;
  /** The chart in a sentence, for who does not see it. */
  summary: string;
  /** Changes where colours do. */
  theme: string;
}

const HEIGHT = 150;
const HOUR_S = 3_600;
/** Of a chart in which all is zero. */
const LEAST_TOP = 1;

/** A line chart over the last hour; pointing at one shows the moment in all. */
export function Chart(props: ChartProps): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const { at, lines, theme } = props;
  /** The step that is pointed at, here or in a chart beside this one; null = none. */
  const [pointed, setPointed] = useState<number | null>(null);

  useEffect(() => {
    const div = place.current;
    if (div === null) return;
    const made = new uPlot(optionsOf(props, div, setPointed), dataOf(props), div);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: div.clientWidth, height: HEIGHT }));
    watch.observe(div);
    return () => {
      watch.disconnect();
      made.destroy();
    };
  }, [theme]);

  useEffect(() => plot.current?.setData(dataOf(props)), [at, lines]);

  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{props.title}</span>
        <span class="muted">{pointed === null ? 'now' : clock(at[pointed] ?? 0)}</span>
        {lines.map(({ label, colour, dashed, values }) => (
          <span class={`key ${colour}`} key={label}>
            <span class={dashed === true ? 'stroke dashed' : 'stroke'} aria-hidden="true" /> {label}{' '}
            <b>{shown(values, pointed, props.show)}</b>
          </span>
        ))}
      </figcaption>
      <div ref={place} role="img" aria-label={props.summary} class="plot" />
    </figure>
  );
}

function shown(
  values: readonly (number | null)[],
  step: number | null,
  show: (value: number) => string,
): string {
  const value = values.at(step ?? -1);
  return value === null || value === undefined ? '–' : show(value);
}

function dataOf({ at, lines }: ChartProps): uPlot.AlignedData {
  return [[...at], ...lines.map(({ values }) => [...values])];
}

function optionsOf(
  { lines, show }: ChartProps,
  div: HTMLDivElement,
  point: (step: number | null) => void,
): uPlot.Options {
  const colour = (name: string): string => computed(div, name);
  const axis = {
    stroke: colour('muted'),
    grid: { stroke: colour('line'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  };
  return {
    width: div.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    hooks: { setCursor: [(plot) => point(plot.cursor.idx ?? null)] },
    cursor: { sync: { key: 'hour' }, y: false, drag: { x: false, y: false } },
    scales: {
      // Always the whole hour, also where the relay has not run for one.
      x: { range: (_plot, _first, last) => [last - HOUR_S, last] },
      y: { range: (_plot, _least, most) => [0, Math.max(LEAST_TOP, (most || 0) * 1.1)] },
    },
    axes: [
      { ...axis, values: (_plot, splits) => splits.map(clock), space: 60, size: 28 },
      { ...axis, values: (_plot, splits) => splits.map(show), size: 52, space: 32 },
    ],
    series: [
      {},
      ...lines.map(({ label, colour: name, dashed, bridged }) => ({
        label,
        spanGaps: bridged === true,
        stroke: colour(name),
        width: 1.5,
        points: { show: false },
        ...(dashed === true ? { dash: [5, 4] } : { fill: faint(colour(name)) }),
      })),
    ],
  };
}

/** What a custom property comes to here: the text of one that has a value for dark and one for light says nothing to a canvas. */
function computed(div: HTMLDivElement, name: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(--${name})`;
  div.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

const faint = (colour: string): string => colour.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.12)');

function clock(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
}
