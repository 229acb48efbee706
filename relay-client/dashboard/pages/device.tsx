import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { DeviceDetailBody, WhyBody } from '../../api/shapes/devices.ts';
import type { MessageBody } from '../../api/shapes/messages.ts';
import type { ProxyBody } from '../../api/shapes/relay.ts';
import { at } from '../data/api.ts';
import { href } from '../data/route.ts';
import { useResource } from '../data/use.ts';
import { Announce, Empty, Fault, Heading, Loading, Panel, Table } from '../parts/blocks.tsx';
import { DeedButton, Outcome } from '../parts/confirm.tsx';
import type { Told } from '../parts/confirm.tsx';
import { Ago, Badge, number, span, StateBadge } from '../parts/words.tsx';
import { cancelling, clearing, pushing, redriving } from './deeds.tsx';
import { Timeline } from './timeline.tsx';

const FRESH_MS = 3_000;

/** All about one device. */
export function Device({ id }: { id: string }): JSX.Element {
  const on = { every: FRESH_MS, on: (event: { device: string | null }) => event.device === id };
  const detail = useResource<DeviceDetailBody>(at('v1', 'devices', id), on);
  const why = useResource<WhyBody>(at('v1', 'devices', id, 'why'), on);
  const proxies = useResource<{ proxies: ProxyBody[] }>('v1/proxies', { every: FRESH_MS });
  const [told, setTold] = useState<Told | null>(null);
  const device = detail.value;
  const done = (outcome: Told): void => {
    setTold(outcome);
    detail.refresh();
    why.refresh();
  };
  return (
    <>
      <Heading extra={device === null ? null : <StateBadge state={device.state} />}>{id}</Heading>
      <div class="buttons">
        <DeedButton deed={pushing(id)} done={done} />
        <DeedButton deed={clearing(id, device?.pending ?? 0)} done={done} />
      </div>
      <Outcome told={told} />
      {why.value === null ? null : <WhyPanel why={why.value} />}
      {device === null ? (
        detail.fault === null ? (
          <Loading />
        ) : (
          <Fault text={detail.fault} />
        )
      ) : (
        <>
          <Fault text={detail.fault} />
          <Facts device={device} />
          <Panel title="Messages">
            {device.messages.length === 0 ? (
              <Empty title="Nothing was pushed to it yet.">
                <p>
                  Push calls the phone: its next poll is answered 202, and it opens a session with its
                  service.
                </p>
              </Empty>
            ) : (
              <ol class="messages">
                {device.messages.map((message) => (
                  <li key={message.id}>
                    <Message
                      message={message}
                      device={device}
                      proxies={proxies.value?.proxies ?? []}
                      done={done}
                    />
                  </li>
                ))}
              </ol>
            )}
          </Panel>
          <History device={device} />
        </>
      )}
    </>
  );
}

function WhyPanel({ why }: { why: WhyBody }): JSX.Element {
  return (
    <Panel title="Why it stands where it stands" class="why">
      <Announce>{`It is now: ${why.verdict.replaceAll('-', ' ')}.`}</Announce>
      <p>
        <strong>{why.sentence}</strong>
        {why.advice === null ? '' : ` ${why.advice}`}
      </p>
      {why.standing === null ? null : <p class="muted">{why.standing}</p>}
      {why.warnings.length === 0 ? null : (
        <ul class="alarms">
          {why.warnings.map(({ what, sentence, at: time, count }) => (
            <li key={what}>
              <Badge tone="warn">{what}</Badge> {sentence}{' '}
              <span class="muted">
                <Ago at={time} />
                {count > 1 ? `, ${number(count)} times` : ''}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Facts({ device }: { device: DeviceDetailBody }): JSX.Element {
  const { last_poll: poll, last_session: session } = device;
  const facts: [string, ComponentChildren][] = [
    ['Pending', number(device.pending)],
    ['Generation', number(device.generation)],
    [
      'Last poll',
      poll === null ? (
        'not seen since the relay started'
      ) : (
        <>
          <Ago at={poll.at} />, told {poll.status} by {poll.proxy}
        </>
      ),
    ],
    ['Last told 202', <Ago at={device.last_called_at} none="not since the relay started" />],
    ['Missed polls', device.missed_polls === null ? 'not known yet' : number(device.missed_polls)],
    [
      'Last session',
      session === null ? (
        'none'
      ) : (
        <>
          <Ago at={session.at} />: {session.outcome}
        </>
      ),
    ],
    ...(device.session === null
      ? []
      : ([
          [
            'Session running',
            <>
              {device.session.reason}, since <Ago at={device.session.started_at} />
              {device.session.action === null ? '' : `, the service said ${device.session.action}`}
            </>,
          ],
        ] as [string, ComponentChildren][])),
    ...(device.quiet_until === null
      ? []
      : ([['Kept at 200', <>another {span(Math.max(0, Date.parse(device.quiet_until) - Date.now()))}</>]] as [
          string,
          ComponentChildren,
        ][])),
    ...(device.poll_path === null
      ? []
      : ([['Poll path', <Secret text={device.poll_path} />]] as [string, JSX.Element][])),
  ];
  return (
    <Panel title="What is known">
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}

function Secret({ text }: { text: string }): JSX.Element {
  const [shown, setShown] = useState(false);
  return (
    <>
      {shown ? <code>{text}</code> : 'a secret'}{' '}
      <button type="button" class="small" aria-pressed={shown} onClick={() => setShown(!shown)}>
        {shown ? 'Hide' : 'Show'}
      </button>
    </>
  );
}

function Message(props: {
  message: MessageBody;
  device: DeviceDetailBody;
  proxies: ProxyBody[];
  done: (told: Told) => void;
}): JSX.Element {
  const { message, device, proxies, done } = props;
  const held = message.state === 'held' || message.state === 'in_session';
  return (
    <article aria-label={`Message ${message.id}`}>
      <div class="message-head">
        <StateBadge state={message.state} />
        <span>
          {message.kind}, generation {number(message.generation)}
        </span>
        {message.campaign === null ? null : <a href={href(['campaigns'])}>{message.campaign}</a>}
        {message.parked ? <Badge tone="warn">parked</Badge> : null}
        <span class="muted id">{message.id}</span>
        <span class="buttons end">
          {message.state === 'dead' ? <DeedButton deed={redriving(message)} done={done} /> : null}
          {held ? <DeedButton deed={cancelling(message)} done={done} /> : null}
        </span>
      </div>
      <Timeline message={message} device={device} proxies={proxies} />
      {message.results.length === 0 ? null : (
        <ul class="results">
          {message.results.map(({ action, status, why, at: time }, i) => (
            <li key={i}>
              <StateBadge state={status} /> {action} {why ?? ''} <Ago at={time} />
            </li>
          ))}
        </ul>
      )}
    </article>
  );
}

function History({ device }: { device: DeviceDetailBody }): JSX.Element {
  return (
    <Panel title="History">
      {device.history.length === 0 ? (
        <Empty title="Nothing is remembered of it." />
      ) : (
        <Table
          caption="History of the device, newest first"
          rows={device.history}
          keyOf={({ seq }) => seq}
          columns={[
            { title: 'When', cell: ({ at: time }) => <Ago at={time} /> },
            {
              title: 'What',
              cell: ({ event, what }) => <StateBadge state={event === 'note' ? what : event} />,
            },
            { title: 'Generation', figure: true, cell: ({ generation }) => number(generation) },
            {
              title: 'More',
              cell: ({ facts, event, what }) => (
                <span class="wrap">
                  {[
                    ...(event === 'note' || event === what ? [] : [what]),
                    ...Object.entries(facts).map(
                      ([name, value]) => `${name.replaceAll('_', ' ')} ${String(value)}`,
                    ),
                  ].join(', ')}
                </span>
              ),
            },
          ]}
        />
      )}
    </Panel>
  );
}
