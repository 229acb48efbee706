import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

/** The blocks that pages are made of. */

/** A page's heading takes the focus, so that keyboard and screen reader go along. */
export function Heading({ children, extra }: { children: string; extra?: ComponentChildren }): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${children} · Sallyport`;
    heading.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [children]);
  return (
    <div class="heading">
      <h1 ref={heading} tabIndex={-1}>
        {children}
      </h1>
      {extra}
    </div>
  );
}

export function Panel(props: {
  title: string;
  extra?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}): JSX.Element {
  return (
    <section class={`panel ${props.class ?? ''}`}>
      <div class="panel-head">
        <h2>{props.title}</h2>
        {props.extra}
      </div>
      {props.children}
    </section>
  );
}

/** What is wrong and what to do. */
export function Fault({ text }: { text: string | null }): JSX.Element {
  return (
    <div class="told" aria-live="assertive">
      {text === null ? null : (
        <p class="fault">
          <span aria-hidden="true">✕</span> {text}
        </p>
      )}
    </div>
  );
}

/** Nothing is here, and how there comes to be something. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** Said to who does not see it, when it changes: a sentence without times, which change by themselves. */
export function Announce({ children }: { children: string }): JSX.Element {
  return (
    <p class="hidden" role="status">
      {children}
    </p>
  );
}

export function Loading(): JSX.Element {
  return <p class="muted loading">Asking the relay…</p>;
}

export interface Column<T> {
  title: string;
  /** Right-aligned figures. */
  figure?: boolean;
  cell: (row: T) => ComponentChildren;
  /** The orders that its head sets, one after the other; `-` before one in which the largest come first. */
  sort?: readonly string[];
}

export interface Sorting {
  /** The order that is set. */
  by: string;
  set: (by: string) => void;
}

/**
 * A table with real headers; a wide one scrolls in a box of its own that the keyboard reaches. On a narrow screen its rows are
 * stacked, each cell under its title. The roles are said although they are the elements' own: browsers forget those once the
 * style makes boxes of another kind of them.
 */
export function Table<T>(props: {
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string | number;
  sorting?: Sorting;
}): JSX.Element {
  const { caption, columns, rows, keyOf, sorting } = props;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table role="table">
        <caption class="hidden">{caption}</caption>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <Head key={column.title} column={column} sorting={sorting} />
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr role="row" key={keyOf(row)}>
              {columns.map((column, i) =>
                i === 0 ? (
                  <th scope="row" role="rowheader" key={column.title}>
                    {column.cell(row)}
                  </th>
                ) : (
                  <td
                    role="cell"
                    key={column.title}
                    class={column.figure === true ? 'figure' : ''}
                    data-title={column.title}
                  >
                    {column.cell(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Head<T>({ column, sorting }: { column: Column<T>; sorting: Sorting | undefined }): JSX.Element {
  const { title, sort, figure } = column;
  const kind = figure === true ? 'figure' : '';
  if (sorting === undefined || sort === undefined)
    return (
      <th scope="col" role="columnheader" class={kind}>
        {title}
      </th>
    );
  const now = sort.indexOf(sorting.by);
  const down = sorting.by.startsWith('-');
  const next = sort[(now + 1) % sort.length] ?? '';
  return (
    <th
      scope="col"
      role="columnheader"
      class={kind}
      aria-sort={now === -1 ? 'none' : down ? 'descending' : 'ascending'}
    >
      <button type="button" class="sort" onClick={() => sorting.set(next)}>
        {title} <span aria-hidden="true">{now === -1 ? '↕' : down ? '▼' : '▲'}</span>
      </button>
    </th>
  );
}
