import type { ComponentChildren, JSX } from 'preact';
import type { DeviceDetailBody } from '../../api/shapes/devices.ts';
import type { MessageBody } from '../../api/shapes/messages.ts';
import type { ProxyBody } from '../../api/shapes/relay.ts';
import { Ago, number } from '../parts/words.tsx';

/** How far a message has come: accepted, at the proxies, told 202, in session, ended. */

type Stand = 'done' | 'vain' | 'now' | 'open' | 'skipped';

interface Step {
  name: string;
  stand: Stand;
  more: ComponentChildren;
}

const WORDS: Record<Stand, string> = {
  done: 'done',
  vain: 'in vain',
  now: 'now',
  open: 'not yet',
  skipped: 'not seen',
};
const MARKS: Record<Stand, string> = { done: '✓', vain: '✕', now: '◆', open: '○', skipped: '–' };
/** Ends without the phone's having done its work. */
const VAIN: readonly MessageBody['state'][] = ['dead', 'expired'];

export function Timeline(props: {
  message: MessageBody;
  device: DeviceDetailBody;
  proxies: readonly ProxyBody[];
}): JSX.Element {
  return (
    <ol class="timeline">
      {stepsOf(props).map(({ name, stand, more }) => (
        <li key={name} class={stand}>
          <span class="mark" aria-hidden="true">
            {MARKS[stand]}
          </span>
          <span class="step">
            {name}
            <span class="hidden">: {WORDS[stand]}</span>
          </span>
          <span class="muted">{more}</span>
        </li>
      ))}
    </ol>
  );
}

function stepsOf({
  message,
  device,
  proxies,
}: {
  message: MessageBody;
  device: DeviceDetailBody;
  proxies: readonly ProxyBody[];
}): Step[] {
  const ended = message.ended_at !== null;
  const begun = device.history.find(
    ({ event, message: id }) => (event === 'accepted' || event === 'redriven') && id === message.id,
  );
  const offeredAt = begun?.at ?? message.accepted_at;
  const session = sessionOf(device, offeredAt, message.ended_at);
  const running = message.state === 'in_session';
  const calledAt = device.last_called_at;
  const called =
    calledAt !== null && calledAt >= offeredAt && (!ended || calledAt <= (message.ended_at ?? ''));
  const came = running || session !== null;
  return [
    {
      name: begun?.event === 'redriven' ? 'Re-driven' : 'Accepted',
      stand: 'done',
      more: <Ago at={offeredAt} />,
    },
    atProxies(message, proxies),
    {
      name: 'Told 202',
      stand: called || came ? 'done' : ended ? 'skipped' : 'open',
      more: called ? (
        <Ago at={calledAt} />
      ) : message.not_before !== null ? (
        <Due at={message.not_before} />
      ) : (
        ''
      ),
    },
    {
      name: 'Session',
      stand: running ? 'now' : came ? 'done' : ended ? 'skipped' : 'open',
      more: running ? (
        <Ago at={device.session?.started_at ?? null} />
      ) : session === null ? (
        ''
      ) : (
        <>
          <Ago at={session.at} /> {session.outcome}
        </>
      ),
    },
    ended
      ? {
          name: capital(message.state),
          stand: VAIN.includes(message.state) ? 'vain' : 'done',
          more: (
            <>
              <Ago at={message.ended_at} /> {message.ended_by === null ? '' : `by ${message.ended_by}`}
            </>
          ),
        }
      : {
          name: 'End',
          stand: 'open',
          more:
            message.expires_at === null ? (
              ''
            ) : (
              <>
                expires <Ago at={message.expires_at} />
              </>
            ),
        },
  ];
}

function Due({ at }: { at: string }): JSX.Element {
  return (
    <>
      offered <Ago at={at} />
    </>
  );
}

/** Which of the proxies that are linked hold it, and since when the last one does. */
function atProxies(
  { proxies: held = [], ended_at: endedAt }: MessageBody,
  proxies: readonly ProxyBody[],
): Step {
  const name = 'At proxies';
  const times = held.flatMap(({ since }) => (since === null ? [] : [since]));
  const last = times.toSorted().at(-1) ?? null;
  const since =
    last === null ? null : (
      <>
        <Ago at={last} />
        {held.every(({ exact }) => exact) ? '' : ' or longer'}
      </>
    );
  if (endedAt !== null) return { name, stand: 'done', more: since !== null && last! <= endedAt ? since : '' };
  const all = times.length === held.length && held.length > 0;
  return {
    name,
    stand: all ? 'done' : 'open',
    more:
      held.length === 0 ? (
        'no proxy is linked'
      ) : (
        <>
          {all ? since : null}
          {all ? ', ' : ''}
          {number(times.length)} of {number(proxies.length)}
        </>
      ),
  };
}

/** The newest session between two times, as it was noted. */
function sessionOf(
  { history }: DeviceDetailBody,
  from: string,
  to: string | null,
): { at: string; outcome: string } | null {
  const noted = history.find(
    ({ event, at, facts }) =>
      event === 'note' &&
      typeof facts['outcome'] === 'string' &&
      at >= from &&
      (to === null || at <= later(to)),
  );
  return noted === undefined ? null : { at: noted.at, outcome: String(noted.facts['outcome']) };
}

/** A session is noted a moment after what it ended. */
const NOTED_MS = 2_000;
const later = (time: string): string => new Date(Date.parse(time) + NOTED_MS).toISOString();

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);
