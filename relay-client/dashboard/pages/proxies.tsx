import type { JSX } from 'preact';
import type { ProxyBody, ServiceBody } from '../../api/shapes/relay.ts';
import { useNow, useResource } from '../data/use.ts';
import { Empty, Fault, Heading, Loading, Panel, Table } from '../parts/blocks.tsx';
import { ProxyTable } from '../parts/proxy-table.tsx';
import { Badge, number } from '../parts/words.tsx';
import { ServiceTable } from './overview.tsx';

const FRESH_MS = 2_000;
const DAY_MS = 86_400_000;
/** When a certificate is warned of, as everywhere else. */
const SOON_DAYS = 30;

interface Certificate {
  where: string;
  name: string;
  expires: string;
}

/** Links, services, and how long their certificates are good. */
export function Proxies(): JSX.Element {
  const on = ({ kind }: { kind: string }): boolean => kind === 'link' || kind === 'service';
  const proxies = useResource<{ proxies: ProxyBody[] }>('v1/proxies', { every: FRESH_MS, on });
  const services = useResource<{ services: ServiceBody[] }>('v1/services', { every: FRESH_MS, on });
  const fault = proxies.fault ?? services.fault;
  if (proxies.value === null || services.value === null)
    return (
      <>
        <Heading>Proxies</Heading>
        {fault === null ? <Loading /> : <Fault text={fault} />}
      </>
    );
  const certificates = [
    ...proxies.value.proxies.flatMap(({ url, certificates: shown }) =>
      shown.map(({ name, expires_at: expires }) => ({ where: url, name, expires })),
    ),
    ...services.value.services.flatMap(({ name, certificate_expires_at: expires }) =>
      expires === null ? [] : [{ where: 'this relay', name: `service ${name}`, expires }],
    ),
  ].sort((a, b) => (a.expires < b.expires ? -1 : 1));
  return (
    <>
      <Heading>Proxies</Heading>
      <Fault text={fault} />
      <Panel title="Links">
        <ProxyTable proxies={proxies.value.proxies} />
      </Panel>
      <Panel title="Services">
        <ServiceTable services={services.value.services} />
      </Panel>
      <Panel title="Certificates">
        {certificates.length === 0 ? (
          <Empty title="No certificate is shown, or no proxy has told yet.">
            <p>Proxies tell every five seconds while they are linked.</p>
          </Empty>
        ) : (
          <CertificateTable certificates={certificates} />
        )}
      </Panel>
    </>
  );
}

function CertificateTable({ certificates }: { certificates: Certificate[] }): JSX.Element {
  const now = useNow();
  return (
    <Table
      caption="Certificates, those that expire first first"
      rows={certificates}
      keyOf={({ where, name }) => `${where} ${name}`}
      columns={[
        { title: 'Of', cell: ({ name }) => name },
        {
          title: 'Left',
          cell: ({ expires }) => <Left days={Math.floor((Date.parse(expires) - now) / DAY_MS)} />,
        },
        {
          title: 'Good until',
          cell: ({ expires }) => <time dateTime={expires}>{expires.slice(0, 10)}</time>,
        },
        { title: 'Where', cell: ({ where }) => where },
      ]}
    />
  );
}

function Left({ days }: { days: number }): JSX.Element {
  if (days < 0) return <Badge tone="bad">expired</Badge>;
  return (
    <Badge
      tone={days <= SOON_DAYS ? 'warn' : 'good'}
    >{`${number(days)} ${days === 1 ? 'day' : 'days'}`}</Badge>
  );
}
