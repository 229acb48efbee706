import type { Pin } from '../../shared/key-pair.ts';
import type { TlsProfile } from '../../shared/tls-profile.ts';
import type { WpiLimits } from './limits.ts';

/** Files and rules for ending a phone's TLS at this relay (doors with `tls: relay`). */
export interface PhoneTlsConfig {
  /** Certificate chain, PEM file. */
  cert: string;
  /** Its private key, PEM file. */
  key: string;
  profile: TlsProfile;
  /** PEM file of the authorities whose client certificates are demanded; null = none is asked for. */
  clientCa: string | null;
}

/** How upstream's certificate is judged. Default: by the system's authorities and the host name of the URL. */
export interface UpstreamTlsConfig {
  /** PEM file of the authorities trusted in place of the system's. */
  ca?: string;
  /** The pin of upstream's key. It alone decides then; name, dates and issuer do not matter. */
  pin?: Pin;
  /** false = any certificate will do, so whoever stands between can read and change everything. Default true. */
  verify?: boolean;
}

/**
 * What upstream is told about where a phone's request came from: a header line, or a PROXY v2 header as the first bytes
 * of each connection. Default `none`: nothing is added or removed.
 */
export type Forwarded = 'none' | 'x-forwarded-for' | 'forwarded' | 'proxy-v2';

export interface WpiServiceConfig {
  name: string;
  kind: 'wpi';
  /** Null where no door of this service is sealed; a sealed connection is refused then. */
  tls: PhoneTlsConfig | null;
  /** `https://host[:port]` or `http://host[:port]`, with no path. */
  upstream: string;
  upstreamTls: UpstreamTlsConfig;
  /** The range in which each device has an address of its own towards upstream, as `127.64.0.0/16`; null or left out = none. */
  sourceAddresses?: string | null;
  forwarded: Forwarded;
  /** For whoever makes the observer; the service itself knows no XML. */
  rewriteContactMe: boolean;
  /** Items written into phones at each start-up, for whoever makes the observer; null or left out = none. */
  teach?: Readonly<Record<string, string>> | null;
  limits: Partial<WpiLimits>;
}

export interface TcpServiceConfig {
  name: string;
  kind: 'tcp';
  /** `host:port` or `[v6]:port`. */
  upstream: string;
  limits?: Partial<TcpLimits>;
}

export type ServiceConfig = WpiServiceConfig | TcpServiceConfig;

/** What a `tcp` service grants. */
export interface TcpLimits {
  /** Phone connections at once; further ones are refused. Default 2 000. */
  connections: number;
  /** Wait for upstream to accept a connection. Default 10 000. */
  connectMs: number;
  /** A connection on which nothing moves is cut after this, at the latest one and a half times it. 0 = never. Default 7 200 000 (2 h). */
  idleMs: number;
  /** Between two tries whether upstream can be reached. Default 5 000. */
  probeMs: number;
}

export const TCP_LIMITS: TcpLimits = {
  connections: 2_000,
  connectMs: 10_000,
  idleMs: 7_200_000,
  probeMs: 5_000,
};
