import { readFileSync } from 'node:fs';
import t from 'tap';
import {
  CUT,
  MUX,
  MUX_MESSAGE_BYTES,
  MUX_MESSAGE_FRAMES,
  MUX_PAYLOAD_BYTES,
  OPENING_BYTES,
  STREAM_WINDOW_BYTES,
  WIDE_WINDOW_BYTES,
} from '../../../shared/mux-frames.ts';
import { LANE_WIDENED_BYTES } from '../../../shared/mux.ts';
import {
  CLOSE,
  CONTROL_FRAME_BYTES,
  ENTRIES_PER_FRAME,
  HEARTBEAT_MS,
  PATHS,
  PROTOCOL_VERSION,
  PROXY_FRAME_TYPES,
  RELAY_FRAME_TYPES,
  SILENCE_MS,
  SUBPROTOCOL,
} from '../../../shared/protocol.ts';
import { PROXY_FRAME_FIELDS, RELAY_FRAME_FIELDS } from '../../../shared/protocol-read.ts';
import { RECONNECT_WAITS_MS } from '../../../relay-client/links/reconnect.ts';

const page = readFileSync(new URL('../../../PROTOCOL.md', import.meta.url), 'utf8');

/** The rows of the table that follows a heading, cells without backticks. */
function table(heading: string): string[][] {
  const rest = page.slice(page.indexOf(`${heading}\n`) + heading.length);
  const lines = rest.slice(rest.indexOf('|')).split('\n');
  const end = lines.findIndex((line) => !line.startsWith('|'));
  return lines.slice(2, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}

/** A number as the page writes it, in groups of three. */
const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ' ');

t.test('PROTOCOL.md lists exactly the control frames of the code, with their fields', (t) => {
  for (const [heading, types, fields] of [
    ['### From the relay', RELAY_FRAME_TYPES, RELAY_FRAME_FIELDS],
    ['### From the proxy', PROXY_FRAME_TYPES, PROXY_FRAME_FIELDS],
  ] as const) {
    const rows = table(heading);
    t.same(
      rows.map(([type]) => type),
      types,
    );
    for (const [type = '', names = ''] of rows) {
      t.same(names === '' ? [] : names.split(', '), (fields as Record<string, string[]>)[type], type);
    }
  }
  t.end();
});

t.test('PROTOCOL.md lists exactly the stream frames, cut codes and close codes of the code', (t) => {
  t.same(
    table('## Stream lanes').map(([type, name]) => [name, Number(type)]),
    Object.entries(MUX),
  );
  t.same(
    table('## Why a lane was closed').map(([code, name]) => [name, Number(code)]),
    Object.entries(CLOSE),
  );
  const cuts = Object.entries(CUT)
    .map(([name, code]) => `${code} ${name}`)
    .join(', ');
  t.match(page, `Codes of \`cut\`: ${cuts}.`);
  t.end();
});

t.test('PROTOCOL.md states the limits, paths and version of the code', (t) => {
  t.match(page, `version **${PROTOCOL_VERSION}**`);
  t.match(page, `\`${SUBPROTOCOL}\``);
  for (const path of Object.values(PATHS)) t.match(page, path);
  const text = page.replace(/\s+/g, ' ');
  for (const sentence of [
    `at most ${grouped(CONTROL_FRAME_BYTES)} bytes, at most ${grouped(ENTRIES_PER_FRAME)} entries`,
    `each ${grouped(HEARTBEAT_MS)} ms`,
    `for ${grouped(SILENCE_MS)} ms is closed`,
    `a lease of ${grouped(SILENCE_MS)} ms`,
    `one to ${grouped(MUX_MESSAGE_FRAMES)} frames back to back`,
    `at most ${grouped(MUX_MESSAGE_BYTES)} bytes in all`,
    `at most ${grouped(MUX_PAYLOAD_BYTES)} bytes`,
    `JSON, at most ${grouped(OPENING_BYTES)} bytes`,
    `begins with ${grouped(STREAM_WINDOW_BYTES)} bytes of credit`,
    `at most ${grouped(WIDE_WINDOW_BYTES)}: bulk`,
    `given ${LANE_WIDENED_BYTES / 1_048_576} MiB`,
    `random part of ${RECONNECT_WAITS_MS.slice(0, -1).map(grouped).join(', ')}, then always ${grouped(RECONNECT_WAITS_MS.at(-1)!)} ms`,
  ]) {
    t.ok(text.includes(sentence), sentence);
  }
  t.end();
});
