/** Charts as SVG, readable on light and dark pages. */

const FONT = 'font-family="system-ui, sans-serif"';
const INK = '#1f2933';
const FAINT = '#9aa5b1';
const OURS = '#2563eb';
const SHORT = '#dc2626';

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

const word = (
  x: number,
  y: number,
  text: string,
  { size = 12, anchor = 'start', colour = INK }: { size?: number; anchor?: string; colour?: string } = {},
): string =>
  `<text x="${place(x)}" y="${place(y)}" font-size="${size}" text-anchor="${anchor}" fill="${colour}" ${FONT}>${escaped(text)}</text>`;

const line = (x1: number, y1: number, x2: number, y2: number, colour: string, width = 1): string =>
  `<line x1="${place(x1)}" y1="${place(y1)}" x2="${place(x2)}" y2="${place(y2)}" stroke="${colour}" stroke-width="${width}"/>`;

const place = (value: number): string => String(Math.round(value * 10) / 10);

function svg(width: number, height: number, title: string, parts: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

/** A ratio of ours to a peer's, with the least and the greatest of the rounds. */
export interface RatioBar {
  name: string;
  peer: string;
  ratio: number;
  spread: readonly [number, number];
  /** The least that is aimed at; null = nothing. */
  goal: number | null;
}

/** Ratios on a logarithmic scale: dots with their spread, the goals as strokes, and a line at 1. */
export function ratioChart(title: string, bars: readonly RatioBar[]): string {
  const [left, right, top, step] = [420, 40, 60, 22];
  const width = 960;
  const height = top + bars.length * step + 40;
  const low = Math.log2(Math.min(0.5, ...bars.map(({ spread }) => spread[0])));
  const high = Math.log2(Math.max(2, ...bars.map(({ spread }) => spread[1])));
  const x = (ratio: number): number =>
    left + ((Math.log2(ratio) - low) / (high - low)) * (width - left - right);
  const parts = [word(16, 28, title, { size: 16 })];
  for (let power = Math.ceil(low); power <= Math.floor(high); power++) {
    const at = x(2 ** power);
    parts.push(line(at, top - 8, at, height - 34, power === 0 ? INK : '#e4e7eb', power === 0 ? 1.5 : 1));
    parts.push(word(at, height - 16, `${2 ** power} ×`, { size: 11, anchor: 'middle', colour: '#52606d' }));
  }
  bars.forEach(({ name, peer, ratio, spread, goal }, i) => {
    const y = top + i * step + step / 2;
    const colour = goal !== null && ratio < goal ? SHORT : OURS;
    parts.push(word(left - 12, y + 4, `${name} / ${peer}`, { anchor: 'end' }));
    parts.push(line(x(spread[0]), y, x(spread[1]), y, colour, 2));
    parts.push(`<circle cx="${place(x(ratio))}" cy="${place(y)}" r="4.5" fill="${colour}"/>`);
    if (goal !== null) parts.push(line(x(goal), y - 7, x(goal), y + 7, FAINT, 2));
    parts.push(word(Math.min(x(spread[1]) + 8, width - 34), y + 4, ratio.toFixed(2), { size: 11 }));
  });
  return svg(width, height, title, parts);
}

/** How something grows: a figure at each size. */
export interface Curve {
  name: string;
  unit: string;
  points: { at: number; value: number; text: string }[];
}

/** Small charts side by side, sizes on a logarithmic scale, each figure's own scale from 0. */
export function growthChart(title: string, curves: readonly Curve[]): string {
  const [across, cellWidth, cellHeight, top] = [3, 320, 200, 50];
  const rows = Math.ceil(curves.length / across);
  const parts = [word(16, 28, title, { size: 16 })];
  curves.forEach(({ name, unit, points }, i) => {
    const left = (i % across) * cellWidth + 24;
    const upper = top + Math.floor(i / across) * cellHeight + 44;
    const [width, height] = [cellWidth - 64, cellHeight - 94];
    const least = Math.log10(Math.min(...points.map(({ at }) => at)));
    const most = Math.log10(Math.max(...points.map(({ at }) => at)));
    const highest = Math.max(...points.map(({ value }) => value), Number.MIN_VALUE);
    const x = (at: number): number =>
      left + (most === least ? 0.5 : (Math.log10(at) - least) / (most - least)) * width;
    const y = (value: number): number => upper + height - (value / highest) * height;
    parts.push(word(left - 8, upper - 27, `${name}, ${unit}`, { size: 12 }));
    parts.push(line(left - 8, upper + height, left + width + 8, upper + height, FAINT));
    const path = points.map(({ at, value }) => `${place(x(at))},${place(y(value))}`).join(' ');
    parts.push(`<polyline points="${path}" fill="none" stroke="${OURS}" stroke-width="2"/>`);
    for (const { at, value, text } of points) {
      parts.push(`<circle cx="${place(x(at))}" cy="${place(y(value))}" r="3.5" fill="${OURS}"/>`);
      parts.push(word(x(at), y(value) - 8, text, { size: 10, anchor: 'middle' }));
      const power = `10^${Math.round(Math.log10(at))}`;
      parts.push(word(x(at), upper + height + 16, power, { size: 10, anchor: 'middle', colour: '#52606d' }));
    }
  });
  return svg(across * cellWidth, top + rows * cellHeight, title, parts);
}
