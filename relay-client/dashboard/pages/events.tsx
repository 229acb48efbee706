import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { useLive } from '../data/use.ts';
import type { LiveEvent } from '../data/live.ts';
import { Empty, Heading } from '../parts/blocks.tsx';
import { EventTable } from '../parts/event-table.tsx';
import { number } from '../parts/words.tsx';
import { Point } from './overview.tsx';

const KINDS: readonly [LiveEvent['kind'], string][] = [
  ['message', 'Messages'],
  ['session', 'Sessions'],
  ['link', 'Links'],
  ['service', 'Services'],
  ['warning', 'Warnings'],
  ['campaign', 'Campaigns'],
];

/** What happens, as it happens. */
export function Events(): JSX.Element {
  const { events } = useLive();
  const [text, setText] = useState('');
  const [hidden, setHidden] = useState<readonly string[]>([]);
  /** The list as it was when it was stopped; null = it goes on. */
  const [stopped, setStopped] = useState<readonly LiveEvent[] | null>(null);
  const shown = (stopped ?? events).filter((event) => !hidden.includes(event.kind) && matches(event, text));
  const waiting = stopped === null ? 0 : (events[0]?.n ?? 0) - (stopped[0]?.n ?? 0);
  return (
    <>
      <Heading>Events</Heading>
      <form class="bar" role="search" onSubmit={(event) => event.preventDefault()}>
        <label class="grow">
          <span>Filter</span>
          <input
            type="search"
            value={text}
            placeholder="Device, event or text"
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <fieldset class="choice">
          <legend>Show</legend>
          {KINDS.map(([kind, label]) => (
            <label key={kind}>
              <input
                type="checkbox"
                checked={!hidden.includes(kind)}
                onChange={() =>
                  setHidden(
                    hidden.includes(kind) ? hidden.filter((each) => each !== kind) : [...hidden, kind],
                  )
                }
              />
              <span>{label}</span>
            </label>
          ))}
        </fieldset>
        <button
          type="button"
          aria-pressed={stopped !== null}
          onClick={() => setStopped(stopped === null ? events : null)}
        >
          {stopped === null ? 'Stop' : 'Go on'}
        </button>
      </form>
      <p class="muted" aria-live="polite">
        {stopped === null
          ? `The last ${number(events.length)} events.`
          : `Stopped; ${number(waiting)} new ones wait.`}
      </p>
      {events.length === 0 ? (
        <Empty title="Nothing has happened yet.">
          <Point />
        </Empty>
      ) : shown.length === 0 ? (
        <Empty title="No event fits.">
          <p>Filter for less, or show more kinds.</p>
        </Empty>
      ) : (
        <EventTable events={shown} />
      )}
    </>
  );
}

function matches({ device, what, text }: LiveEvent, wanted: string): boolean {
  const words = wanted.trim().toLowerCase();
  if (words === '') return true;
  const plain = words.replaceAll(/[:.-]/g, '');
  const haystack = `${device ?? ''} ${what} ${text}`.toLowerCase();
  return (
    haystack.includes(words) || (plain !== '' && (device ?? '').replaceAll(/[:.-]/g, '').includes(plain))
  );
}
