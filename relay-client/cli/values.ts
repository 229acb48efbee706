import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { CsvError, parse } from 'csv-parse/sync';
import { parseDeviceId } from '../../shared/device-id.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';

/** One device and the values that are its own. */
export interface DeviceValues {
  device: DeviceId;
  /** By the names of columns, references looked up. */
  values: ReadonlyMap<string, Value>;
}

export interface Value {
  text: string;
  /** It came by reference, so whoever wrote the file did not want it to be seen there. */
  secret: boolean;
}

const DEVICE_COLUMN = 'device';
/** A value that stands elsewhere: in a file beside, or in the environment. */
const REFERENCE = /^@(file|env):(.+)$/;

/**
 * Reads devices and their values from a CSV file with a heading (RFC 4180), or a JSON list of objects. One column is
 * `device`; the others are values, or references to them: `@file:PATH` (relative to the file, its last line end left
 * out) and `@env:NAME`.
 *
 * @throws SallyportError FILE_UNREADABLE, REQUEST_INVALID naming file and line; no value is ever quoted
 */
export function readDeviceValues(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): DeviceValues[] {
  const text = readText(file);
  const rows = file.toLowerCase().endsWith('.json') ? fromJson(file, text) : fromCsv(file, text);
  if (rows.length === 0) throw invalid(`${file} names no device`);
  const seen = new Map<DeviceId, string>();
  return rows.map(({ at, cells }) => {
    const device = parseDeviceId(cells.get(DEVICE_COLUMN) ?? '');
    if (device === null) throw invalid(`${at} has no device id in its column "${DEVICE_COLUMN}"`);
    const before = seen.get(device);
    if (before !== undefined) throw invalid(`${at} names ${device} again, after ${before}`);
    seen.set(device, at);
    const values = [...cells].map(([name, cell]): [string, Value] => [name, lookUp(cell, file, at, env)]);
    return { device, values: new Map(values) };
  });
}

/**
 * The value that a text stands for: itself, or what it refers to.
 *
 * @param beside - relative paths are relative to this file
 * @param at - where it stands, for errors
 * @throws SallyportError FILE_UNREADABLE, REQUEST_INVALID
 */
export function lookUp(
  text: string,
  beside: string,
  at: string,
  env: Readonly<Record<string, string | undefined>>,
): Value {
  const [, where, name = ''] = REFERENCE.exec(text) ?? [];
  if (where === undefined) return { text, secret: false };
  if (where === 'file') {
    return { text: readText(resolve(dirname(beside), name)).replace(/\r?\n$/, ''), secret: true };
  }
  const found = env[name];
  if (found === undefined) throw invalid(`${at} refers to ${name}, which is not in the environment`);
  return { text: found, secret: true };
}

interface Row {
  /** File and line. */
  at: string;
  cells: Map<string, string>;
}

function fromCsv(file: string, text: string): Row[] {
  let records: { info: { lines: number }; record: Record<string, string> }[];
  try {
    records = parse(text, {
      columns: true,
      bom: true,
      info: true,
      skip_empty_lines: true,
      trim: true,
    }) as never;
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    // Its text may quote what stands there.
    throw invalid(`${file} is no CSV file with a heading: ${error.code}${lineOf(error)}`);
  }
  return records.map(({ info, record }) => ({
    at: `${file}:${info.lines}`,
    cells: new Map(Object.entries(record)),
  }));
}

const lineOf = (error: CsvError): string =>
  'lines' in error && typeof error.lines === 'number' ? ` in line ${error.lines}` : '';

function fromJson(file: string, text: string): Row[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw invalid(`${file} is not JSON`);
  }
  if (!Array.isArray(list)) throw invalid(`${file} should hold a list of objects, one for each device`);
  return list.map((each: unknown, i) => {
    const at = `${file}, entry ${i + 1},`;
    if (typeof each !== 'object' || each === null) throw invalid(`${at} is no object`);
    const cells = Object.entries(each).map(([name, cell]: [string, unknown]): [string, string] => {
      if (typeof cell === 'string' || typeof cell === 'number' || typeof cell === 'boolean') {
        return [name, String(cell)];
      }
      throw invalid(`${at} has a value of "${name}" that is neither text nor number`);
    });
    return { at, cells: new Map(cells) };
  });
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
}

const invalid = (message: string): SallyportError => new SallyportError('REQUEST_INVALID', message);
