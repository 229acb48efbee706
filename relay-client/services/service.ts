import type { Duplex } from 'node:stream';
import type { CertificateUse } from '../../shared/certificates.ts';

/** Where a phone's connection came from, as the proxy tells it. Untrusted: good for logs and grouping only. */
export interface PhoneOrigin {
  /** The proxy that took the connection, by its name in this relay. */
  proxy: string;
  /** Name of the session door. */
  door: string;
  /** The phone's address and port as the proxy saw them (text, IPv4 or IPv6). */
  address: string;
  port: number;
  /** Who ends the phone's TLS: `relay` = sealed, this side must; `proxy` = already ended, or plain. */
  tls: 'relay' | 'proxy';
}

/** Whether a service's upstream can be reached. */
export interface ServiceHealth {
  up: boolean;
  /** Why not, in words for an operator; null while up. */
  why: string | null;
  /** Wall time of the last change. */
  since: number;
}

/** One service of the relay: takes phones' connections and leads them to its fixed upstream. */
export interface Service {
  readonly name: string;
  readonly kind: 'wpi' | 'tcp';
  /** Takes over the stream; never throws. Both directions are destroyed by the service when it's done. */
  accept(stream: Duplex, origin: PhoneOrigin): void;
  health(): ServiceHealth;
  /** Calls back on each change of health. Returns the way to stop. */
  onHealth(listener: (health: ServiceHealth) => void): () => void;
  /** The certificate that phones are shown at sealed doors; null = none. */
  certificate(): CertificateUse | null;
  /** Open phone connections. */
  connections(): number;
  /** Re-reads certificates and keys; rejects with the old ones kept when the new are unusable. */
  reload(): Promise<void>;
  /** Refuses new connections, waits for running exchanges, cuts what is left after `withinMs`. */
  drain(withinMs: number): Promise<void>;
  close(): Promise<void>;
}
