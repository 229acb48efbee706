import type { ComponentChildren, JSX } from 'preact';
import type { ServiceBody, StatusBody } from '../../api/shapes/relay.ts';
import type { WarningBody } from '../../api/shapes/warnings.ts';
import { useLive, useResource } from '../data/use.ts';
import type { LiveEvent } from '../data/live.ts';
import { href } from '../data/route.ts';
import { Announce, Empty, Fault, Heading, Loading, Panel, Table } from '../parts/blocks.tsx';
import { ProxyTable } from '../parts/proxy-table.tsx';
import { EventTable } from '../parts/event-table.tsx';
import { Ago, Badge, number, rate, span } from '../parts/words.tsx';
import { Charts } from './charts.tsx';

const STATUS_MS = 2_000;
const WARNINGS_MS = 30_000;
/** Events and warnings that fit beside all else. */
const FEW = 8;

export function Overview({ theme }: { theme: string }): JSX.Element {
  const status = useResource<StatusBody>('v1/status', { every: STATUS_MS, on: changesState });
  const warnings = useResource<{ warnings: WarningBody[] }>('v1/warnings', {
    every: WARNINGS_MS,
    on: ({ kind }) => kind === 'warning',
  });
  const { events } = useLive();
  const now = status.value;
  return (
    <>
      <Heading extra={now === null ? null : <Readiness status={now} />}>Overview</Heading>
      <Fault text={status.fault} />
      {now === null ? (
        <Loading />
      ) : (
        <>
          <Tiles status={now} />
          <Attention status={now} warnings={warnings.value?.warnings ?? []} />
          <Charts theme={theme} />
          <Panel title="Proxies" extra={<a href={href(['proxies'])}>All about them</a>}>
            <ProxyTable proxies={now.proxies} brief />
          </Panel>
          <Panel title="Services">
            <ServiceTable services={now.services} />
          </Panel>
          <Panel title="Last events" extra={<a href={href(['events'])}>Follow all</a>}>
            {events.length === 0 ? (
              <Empty title="Nothing has happened yet.">
                <Point />
              </Empty>
            ) : (
              <EventTable events={events.slice(0, FEW)} />
            )}
          </Panel>
        </>
      )}
    </>
  );
}

const changesState = ({ kind }: LiveEvent): boolean => kind !== 'warning';

function Readiness({ status }: { status: StatusBody }): JSX.Element {
  return (
    <span role="status">
      {status.ready ? <Badge tone="good">ready</Badge> : <Badge tone="bad">not ready</Badge>}
    </span>
  );
}

/** How a phone comes to be seen here. */
export function Point(): JSX.Element {
  return (
    <p>
      Point a phone at the proxy: its poll address (item <code>dcmp-url</code>) is{' '}
      <code>http://PROXY:8080/dcmp/</code>, its provisioning server the proxy's session door. Then push, and
      its next poll is answered 202.
    </p>
  );
}

function Tiles({ status }: { status: StatusBody }): JSX.Element {
  const { outbox, polls_per_s: polls, pickups, sessions } = status;
  return (
    <dl class="tiles">
      <Tile
        name="Polls per second"
        value={rate(polls === null ? null : polls.idle + polls.called + polls.refused)}
        note={polls === null ? 'no proxy tells' : `${rate(polls.called)} answered 202`}
      />
      <Tile
        name="Pending messages"
        value={number(outbox.held)}
        note={`of ${number(outbox.accepted)} ever accepted`}
      />
      <Tile
        name="Sessions running"
        value={number(sessions)}
        note={`${number(outbox.ended.cleared)} cleared so far`}
      />
      <Tile
        name="Pick-up time"
        value={span(pickups?.median_ms ?? null)}
        note={
          pickups === null
            ? 'nobody came in the last 10 min'
            : `median of ${number(pickups.count)}, longest ${span(pickups.longest_ms)}`
        }
      />
      <Tile
        name="Devices"
        value={number(outbox.devices)}
        note={
          outbox.ended.dead === 0 ? (
            'no message ended dead'
          ) : (
            <a href={href(['devices'], { state: 'dead' })}>
              {outbox.ended.dead === 1
                ? '1 message ended dead'
                : `${number(outbox.ended.dead)} messages ended dead`}
            </a>
          )
        }
      />
    </dl>
  );
}

function Tile({ name, value, note }: { name: string; value: string; note: ComponentChildren }): JSX.Element {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>
        <span class="tile-value">{value}</span>
        <span class="muted">{note}</span>
      </dd>
    </div>
  );
}

/** All that needs somebody, or that nothing does. */
function Attention({ status, warnings }: { status: StatusBody; warnings: WarningBody[] }): JSX.Element {
  const down = status.services.filter(({ up }) => !up);
  const count = status.reasons.length + down.length + status.warnings.length + warnings.length;
  const quiet = status.ready && count === 0;
  return (
    <Panel title="Attention" class={quiet ? '' : 'attention'}>
      <Announce>
        {quiet
          ? 'Nothing needs you.'
          : count === 1
            ? 'One thing needs attention.'
            : `${number(count)} things need attention.`}
      </Announce>
      <ul class="alarms">
        {quiet ? (
          <li>
            <Badge tone="good">nothing needs you</Badge>{' '}
            <span class="muted">
              All links and services are up, and nothing was warned of since the relay started.
            </span>
          </li>
        ) : null}
        {status.reasons.map((reason) => (
          <li key={reason}>
            <Badge tone="bad">not ready</Badge> {reason}
          </li>
        ))}
        {down.map(({ name, why, since }) => (
          <li key={`service ${name}`}>
            <Badge tone="bad">service down</Badge> {name}
            {why === null ? '' : `: ${why}`}{' '}
            <span class="muted">
              <Ago at={since} />
            </span>
          </li>
        ))}
        {status.warnings.map((warning) => (
          <li key={warning}>
            <Badge tone="warn">soon</Badge> {warning}
          </li>
        ))}
        {warnings.slice(0, FEW).map((warning) => (
          <li key={`${warning.what} ${warning.device ?? ''}`}>
            <Badge tone="warn">{warning.what}</Badge>{' '}
            {warning.device === null ? null : (
              <a href={href(['devices', warning.device])} class="id">
                {warning.device}
              </a>
            )}{' '}
            {warning.sentence}{' '}
            <span class="muted">
              <Ago at={warning.at} />
              {warning.count > 1 ? `, ${number(warning.count)} times` : ''}
            </span>
          </li>
        ))}
        {warnings.length > FEW ? (
          <li class="muted">and {number(warnings.length - FEW)} more kinds or devices</li>
        ) : null}
      </ul>
    </Panel>
  );
}

export function ServiceTable({ services }: { services: ServiceBody[] }): JSX.Element {
  if (services.length === 0)
    return (
      <Empty title="No service is configured.">
        <p>
          Name one in <code>relay.yaml</code> below <code>services</code>: where sessions of phones are led
          to.
        </p>
      </Empty>
    );
  return (
    <Table
      caption="Services"
      rows={services}
      keyOf={({ name }) => name}
      columns={[
        { title: 'Service', cell: ({ name }) => name },
        { title: 'Kind', cell: ({ kind }) => kind },
        { title: 'State', cell: ({ up }) => <Badge tone={up ? 'good' : 'bad'}>{up ? 'up' : 'down'}</Badge> },
        { title: 'Since', cell: ({ since }) => <Ago at={since} /> },
        { title: 'Why', cell: ({ why }) => <span class="wrap">{why ?? ''}</span> },
        { title: 'Connections', figure: true, cell: ({ connections }) => number(connections) },
      ]}
    />
  );
}
