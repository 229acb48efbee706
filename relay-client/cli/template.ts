import { SallyportError } from '../../shared/errors.ts';
import { readActions } from '../courier/actions.ts';
import type { HeldAction } from '../courier/actions.ts';
import { lookUp } from './values.ts';
import type { DeviceValues, Value } from './values.ts';

/** Actions whose items' values may have places for what is a device's own: `{{column}}`, or a reference `{{@env:NAME}}`. */
export interface Template {
  /** The columns that it has places for. */
  readonly columns: readonly string[];
  /**
   * The actions for one device.
   *
   * @throws SallyportError REQUEST_INVALID where a column is missing, or what comes of it is refused; quotes no value
   */
  fill(device: DeviceValues): { actions: HeldAction[]; secrets: ReadonlySet<string> };
}

const PLACE = /\{\{\s*([^{}]+?)\s*\}\}/g;

/**
 * Reads a template: actions as a push takes them, JSON or WPI.
 *
 * @param source - its text, or what JSON made of it
 * @param file - where it comes from, for errors and relative references
 * @throws SallyportError REQUEST_INVALID
 */
export function readTemplate(
  source: unknown,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): Template {
  const actions = readActions(source, file);
  const columns = new Set<string>();
  /** Looked up once: what is not a device's own is the same for all. */
  const fixed = new Map<string, Value>();
  for (const { items } of actions) {
    for (const { name, value = '' } of items) {
      for (const [, place = ''] of value.matchAll(PLACE)) {
        if (place.startsWith('@')) fixed.set(place, lookUp(place, file, `${file}, item ${name},`, env));
        else columns.add(place);
      }
    }
  }
  return {
    columns: [...columns],
    fill({ device, values }) {
      const secrets = new Set<string>();
      const filled = actions.map((action, i) => ({
        ...action,
        items: action.items.map((item, j) => {
          if (item.value === undefined) return item;
          const value = item.value.replace(PLACE, (_, place: string) => {
            const found = fixed.get(place) ?? values.get(place);
            if (found === undefined) throw missing(file, item.name, place, device);
            if (found.secret) secrets.add(`${i}.${j}`);
            return found.text;
          });
          return { ...item, value };
        }),
      }));
      // A value may be too long, or hold what XML cannot.
      return { actions: readActions(filled, `actions for ${device}`), secrets };
    },
  };
}

function missing(file: string, item: string, place: string, device: string): SallyportError {
  return new SallyportError(
    'REQUEST_INVALID',
    `${file}, item ${item}, has a place for {{${place}}}, and there is no such column for ${device}`,
  );
}
