/** How much the watcher keeps in mind, and for how long. Anybody can send it messages, so nothing is unbounded. */
export interface WatcherLimits {
  /** Sessions at a time; above it the one that was silent longest ends as cut. Default 10 000. */
  sessions: number;
  /** Devices whose cookies are remembered; the one not seen for longest is forgotten. Default 20 000. */
  devices: number;
  /** Cookies remembered of one device; the oldest goes first. Default 8. */
  cookiesPerDevice: number;
  /** Cookies remembered as shared by several devices, which therefore identify none. Default 1 000. */
  sharedCookies: number;
  /**
   * Devices, neither remembered nor known otherwise, that are taken on within a minute; the sessions of further
   * ones pass unidentified. Default 1 000.
   */
  newDevicesPerMinute: number;
  /**
   * How long a phone whose connection closed may take to come back with its reply, in ms. After a restart no phone is
   * identified by a cookie of upstream's for so long. Default 60 000.
   */
  returnMs: number;
  /** How long a phone may take to reply on a connection that stays open, in ms. Default 300 000. */
  silenceMs: number;
  /**
   * After a session was cut or ended while its phone might reply, a reply was shed, a message passed unread, somebody
   * unknown spoke, or a phone left for another address, a reply may still come that belongs to none of the sessions that run
   * there: for so long nobody is identified by that address alone, in ms. After a restart nobody is by any address.
   * Default 600 000.
   */
  doubtMs: number;
  /** Addresses remembered for that; the oldest goes first. Default 10 000. */
  doubtfulAddresses: number;
}

export const DEFAULT_WATCHER_LIMITS: WatcherLimits = {
  sessions: 10_000,
  devices: 20_000,
  cookiesPerDevice: 8,
  sharedCookies: 1_000,
  newDevicesPerMinute: 1_000,
  returnMs: 60_000,
  silenceMs: 300_000,
  doubtMs: 600_000,
  doubtfulAddresses: 10_000,
};

/** How often sessions are looked at for being over time. */
export const SWEEP_MS = 1_000;
