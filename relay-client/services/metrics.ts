/** What a service counts. */
export type ServiceEvent =
  /** A phone's connection was taken. */
  | 'connection'
  /** A phone's connection was refused: over the limit, draining, or sealed without a certificate here. */
  | 'connection_refused'
  /** A phone's TLS handshake failed or took too long. */
  | 'handshake_failed'
  /** A request went towards upstream. */
  | 'request'
  /** A request was refused here. */
  | 'request_refused'
  /** Upstream could not be connected to. */
  | 'upstream_refused'
  /** Upstream took too long. */
  | 'upstream_timeout'
  /** Upstream went away, or answered what cannot be passed on. */
  | 'upstream_cut'
  /** The phone went away before it had the answer. */
  | 'phone_cut'
  /** Where devices have addresses of their own: a request went from the ordinary one, as nobody knows whose it is. */
  | 'address_unknown'
  /** A request was refused, because its device could be given no address of its own. */
  | 'address_refused';

/** Takes the counts of all services. */
export interface ServiceMetrics {
  count(service: string, event: ServiceEvent): void;
}
