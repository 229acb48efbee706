import { useEffect, useState } from 'preact/hooks';

/** Where we are: a path and fields after the `#`, so that every view has an address and the server knows one page. */
export interface Place {
  path: readonly string[];
  fields: Readonly<Record<string, string>>;
}

function readPlace(hash: string): Place {
  const [path = '', search = ''] = hash.replace(/^#?\/?/, '').split('?');
  return {
    path: path
      .split('/')
      .filter((word) => word !== '')
      .map(decode),
    fields: Object.fromEntries(new URLSearchParams(search)),
  };
}

export function href(path: readonly string[], fields: Record<string, string> = {}): string {
  const given = Object.entries(fields).filter(([, value]) => value !== '');
  const search = given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`;
  return `#/${path.map(encodeURIComponent).join('/')}${search}`;
}

/**
 * Changes some fields of the place, without a step in the browser's history. The others stay as they are there now,
 * which may be newer than what was drawn.
 */
export function changeFields(changes: Record<string, string>): void {
  const { path, fields } = readPlace(location.hash);
  history.replaceState(null, '', href(path, { ...fields, ...changes }));
  dispatchEvent(new HashChangeEvent('hashchange'));
}

export function usePlace(): Place {
  const [place, setPlace] = useState(() => readPlace(location.hash));
  useEffect(() => {
    const look = (): void => setPlace(readPlace(location.hash));
    addEventListener('hashchange', look);
    return () => removeEventListener('hashchange', look);
  }, []);
  return place;
}

function decode(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}
