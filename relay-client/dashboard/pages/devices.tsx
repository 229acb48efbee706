import type { JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { DeviceRowBody, UnknownDeviceBody } from '../../api/shapes/devices.ts';
import { useResource, useSettled } from '../data/use.ts';
import { changeFields, href } from '../data/route.ts';
import { Empty, Fault, Heading, Loading, Table } from '../parts/blocks.tsx';
import { Ago, Badge, number, StateBadge } from '../parts/words.tsx';
import { Point } from './overview.tsx';

const PAGE = 50;
const FRESH_MS = 5_000;
/** How long typing has to pause before it is searched for: scanners type faster, people never. */
const TYPING_MS = 10;
/** And until it stands in the address: to draw the page for that first would delay what was searched for. */
const ADDRESS_MS = 400;

const STATES = [
  ['', 'All'],
  ['pending', 'Pending'],
  ['dead', 'Dead'],
  ['idle', 'Idle'],
  ['unknown', 'Unknown'],
] as const;

const NONE: DeviceRowBody[] = [];

interface Found {
  devices?: DeviceRowBody[];
  unknown?: UnknownDeviceBody[];
  next?: string | null;
}

export function Devices({ fields }: { fields: Readonly<Record<string, string>> }): JSX.Element {
  const { state = '', sort = 'device', q: there = '' } = fields;
  const [typed, setTyped] = useState(there);
  const q = useSettled(typed, TYPING_MS).trim();
  const list = `${q}\n${state}\n${sort}`;
  /** Cursors of the pages up to this one; the first page has none. */
  const [turned, setTurned] = useState<{ list: string; cursors: string[] }>({ list, cursors: [] });
  const cursors = turned.list === list ? turned.cursors : [];
  const turn = (to: string[]): void => setTurned({ list, cursors: to });
  /** What was typed and put into the address; another text there was followed or typed there. */
  const put = useRef(there);
  const putNow = (): void => {
    if (q === put.current) return;
    put.current = q;
    changeFields({ q });
  };
  useEffect(() => {
    const timer = setTimeout(putNow, ADDRESS_MS);
    return () => clearTimeout(timer);
  }, [q]);
  useEffect(() => {
    if (there === put.current) return;
    put.current = there;
    setTyped(there);
  }, [there]);

  const unknown = state === 'unknown';
  const cursor = cursors.at(-1);
  const query = new URLSearchParams({
    limit: String(unknown ? 1000 : PAGE),
    ...(q === '' ? {} : { q }),
    ...(unknown ? { unknown: 'true' } : { sort, ...(state === '' ? {} : { state }) }),
    ...(cursor === undefined || unknown ? {} : { cursor }),
  });
  const found = useResource<Found>(`v1/devices?${query.toString()}`, {
    every: FRESH_MS,
    on: ({ kind }) => kind === 'message' || kind === 'session',
    // Looking through many devices costs the relay something, and rows that jump cost the reader more.
    settle: FRESH_MS / 2,
  });

  const devices = found.value?.devices ?? NONE;
  const narrowed = devices.length === 0 && (q !== '' || state !== '');
  // Drawn when there are other rows, not with each key: fifty of them take as long as the relay takes to answer.
  const table = useMemo(
    () => (
      <DeviceTable
        devices={devices}
        narrowed={narrowed}
        sort={sort}
        setSort={(by) => changeFields({ sort: by === 'device' ? '' : by })}
      />
    ),
    [devices, narrowed, sort],
  );

  return (
    <>
      <Heading>Devices</Heading>
      <form class="bar" role="search" onSubmit={(event) => event.preventDefault()}>
        <label class="grow">
          <span>Search</span>
          <input
            type="search"
            value={typed}
            maxLength={64}
            placeholder="Part of an id, with or without colons"
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        </label>
        <fieldset class="choice">
          <legend>State</legend>
          {STATES.map(([value, label]) => (
            <label key={value}>
              <input
                type="radio"
                name="state"
                value={value}
                checked={state === value}
                onChange={() => changeFields({ state: value })}
              />
              <span>{label}</span>
            </label>
          ))}
        </fieldset>
      </form>
      <Fault text={found.fault} />
      {found.value === null ? (
        found.fault === null ? (
          <Loading />
        ) : null
      ) : found.value.unknown !== undefined ? (
        <UnknownTable devices={found.value.unknown} searched={q !== ''} />
      ) : (
        // Whoever follows a link comes back to what he had searched for.
        <div class="plain" aria-busy={!found.current} onClickCapture={putNow}>
          {table}
          <Pager
            page={cursors.length}
            shown={devices.length}
            back={cursors.length === 0 ? null : () => turn(cursors.slice(0, -1))}
            on={found.value.next == null || !found.current ? null : nextPage(found.value.next)}
          />
        </div>
      )}
    </>
  );

  function nextPage(next: string): () => void {
    return () => turn([...cursors, next]);
  }
}

function Pager(props: {
  page: number;
  shown: number;
  back: (() => void) | null;
  on: (() => void) | null;
}): JSX.Element {
  const { page, shown, back, on } = props;
  const first = page * PAGE + 1;
  return (
    <nav class="pager" aria-label="Pages of devices">
      <button type="button" disabled={back === null} onClick={() => back?.()}>
        ← Back
      </button>
      <span aria-live="polite">
        {shown === 0
          ? 'No devices'
          : `Devices ${number(first)} to ${number(first + shown - 1)}${on === null ? '' : ' and more'}`}
      </span>
      <button type="button" disabled={on === null} onClick={() => on?.()}>
        Next →
      </button>
    </nav>
  );
}

function DeviceTable(props: {
  devices: DeviceRowBody[];
  narrowed: boolean;
  sort: string;
  setSort: (by: string) => void;
}): JSX.Element {
  const { devices, narrowed, sort, setSort } = props;
  if (devices.length === 0)
    return narrowed ? (
      <Empty title="No device fits.">
        <p>
          Search for fewer characters, or choose another state. A phone that polls and was never pushed to is
          under <a href={href(['devices'], { state: 'unknown' })}>Unknown</a>.
        </p>
      </Empty>
    ) : (
      <Empty title="No device was pushed to yet.">
        <Point />
        <p>
          Push with <code>sallyport-relay push 00:1A:E8:12:34:56</code>, through the API, or on the page of a
          phone under <a href={href(['devices'], { state: 'unknown' })}>Unknown</a>.
        </p>
      </Empty>
    );
  return (
    <Table
      caption="Devices"
      rows={devices}
      keyOf={({ device }) => device}
      sorting={{ by: sort, set: setSort }}
      columns={[
        {
          title: 'Device',
          sort: ['device'],
          cell: ({ device }) => (
            <a href={href(['devices', device])} class="id">
              {device}
            </a>
          ),
        },
        { title: 'State', cell: ({ state }) => <StateBadge state={state} /> },
        {
          title: 'Pending',
          figure: true,
          sort: ['-pending', 'pending'],
          cell: ({ pending }) => number(pending),
        },
        {
          title: 'Last poll',
          sort: ['-last_poll', 'last_poll'],
          cell: ({ last_poll: poll }) =>
            poll === null ? (
              <span class="muted">not seen</span>
            ) : (
              <>
                <Ago at={poll.at} /> <span class="muted">told {poll.status}</span>
              </>
            ),
        },
        {
          title: 'Missed polls',
          figure: true,
          cell: ({ missed_polls: missed }) =>
            missed === null || missed === 0 ? number(missed) : <Badge tone="warn">{number(missed)}</Badge>,
        },
        {
          title: 'Last session',
          sort: ['-last_session', 'last_session'],
          cell: ({ last_session: session }) =>
            session === null ? (
              <span class="muted">none</span>
            ) : (
              <>
                <Ago at={session.at} /> <span class="muted">{session.outcome}</span>
              </>
            ),
        },
      ]}
    />
  );
}

function UnknownTable({
  devices,
  searched,
}: {
  devices: UnknownDeviceBody[];
  searched: boolean;
}): JSX.Element {
  if (devices.length === 0)
    return (
      <Empty title={searched ? 'No unknown device fits.' : 'No unknown device polls.'}>
        <p>
          Here stand devices that poll and were never pushed to: often a MAC that was mistyped where work was
          pushed for it. Proxies remember the last thousand.
        </p>
      </Empty>
    );
  return (
    <Table
      caption="Devices that poll and were never pushed to"
      rows={devices}
      keyOf={({ device }) => device}
      columns={[
        {
          title: 'Device',
          cell: ({ device }) => (
            <a href={href(['devices', device])} class="id">
              {device}
            </a>
          ),
        },
        { title: 'Last poll', cell: ({ at }) => <Ago at={at} /> },
        { title: 'Address', cell: ({ address }) => address ?? '–' },
        { title: 'Proxy', cell: ({ proxy }) => proxy },
      ]}
    />
  );
}
