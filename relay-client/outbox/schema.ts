/** Marks a SQLite file as an outbox of ours ("SaPo"), in its header. */
export const APPLICATION_ID = 0x5361506f;

/** The version of {@link SCHEMA}; a file with a newer one is not opened. */
export const SCHEMA_VERSION = 4;

/**
 * The tables of a store.
 *
 * `store` is one row: what the store is (incarnation, the file it was last opened as), the last store time, how far the
 * wall clock was ahead of it (store-time.ts), and the counters, so that accepted = ended + held is written in the same commit as what it counts.
 * `parked_due` is when a parked message would be due. `plain` is the device id without separators, to be searched.
 * Times are whole milliseconds: `*_wall` of the wall clock, the others of the store.
 * `sum` is over the rest of the row (row-sums.ts): SQLite notices pages that make no sense, not values that changed.
 */
export const SCHEMA = `
CREATE TABLE store (
  one         INTEGER PRIMARY KEY CHECK (one = 1),
  incarnation TEXT    NOT NULL,
  file        TEXT    NOT NULL,
  store_time  INTEGER NOT NULL DEFAULT 0,
  seq         INTEGER NOT NULL DEFAULT 0,
  held        INTEGER NOT NULL DEFAULT 0,
  held_bytes  INTEGER NOT NULL DEFAULT 0,
  accepted    INTEGER NOT NULL DEFAULT 0,
  cleared     INTEGER NOT NULL DEFAULT 0,
  superseded  INTEGER NOT NULL DEFAULT 0,
  expired     INTEGER NOT NULL DEFAULT 0,
  cancelled   INTEGER NOT NULL DEFAULT 0,
  dead        INTEGER NOT NULL DEFAULT 0,
  kept        INTEGER NOT NULL DEFAULT 0,
  devices     INTEGER NOT NULL DEFAULT 0,
  strangers   INTEGER NOT NULL DEFAULT 0,
  result_bytes INTEGER NOT NULL DEFAULT 0,
  sum         INTEGER NOT NULL DEFAULT 0,
  wall_ahead  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE devices (
  device       TEXT    NOT NULL PRIMARY KEY,
  plain        TEXT    NOT NULL,
  generation   INTEGER NOT NULL,
  pending      INTEGER NOT NULL,
  dead         INTEGER NOT NULL,
  session_wall INTEGER,
  outcome      TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_with_dead ON devices (device) WHERE dead > 0;

CREATE TABLE messages (
  n             INTEGER PRIMARY KEY,
  id            TEXT    NOT NULL,
  device        TEXT    NOT NULL,
  held          INTEGER NOT NULL,
  generation    INTEGER NOT NULL,
  kind          TEXT    NOT NULL,
  state         TEXT    NOT NULL,
  accepted_wall INTEGER NOT NULL,
  ended_wall    INTEGER,
  ended_by      TEXT,
  ttl           INTEGER NOT NULL,
  due_at        INTEGER NOT NULL,
  expires_at    INTEGER NOT NULL,
  forget_at     INTEGER,
  fruitless     INTEGER NOT NULL DEFAULT 0,
  key           TEXT,
  content       TEXT,
  campaign      TEXT,
  bytes         INTEGER NOT NULL,
  actions       TEXT,
  results       TEXT,
  result_bytes  INTEGER NOT NULL DEFAULT 0,
  awaited_until INTEGER,
  parked_due    INTEGER,
  failed        INTEGER NOT NULL DEFAULT 0,
  sum           INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX messages_by_id ON messages (id);
CREATE INDEX messages_by_device ON messages (device, held, generation);
CREATE INDEX messages_by_expiry ON messages (expires_at) WHERE held = 1;
CREATE INDEX messages_by_forgetting ON messages (forget_at) WHERE held = 0;
CREATE INDEX messages_by_wait ON messages (awaited_until) WHERE held = 1 AND awaited_until IS NOT NULL;
CREATE INDEX messages_by_results ON messages (forget_at, n) WHERE held = 0 AND result_bytes > 0;
CREATE INDEX messages_by_key ON messages (device, key, generation) WHERE key IS NOT NULL;
CREATE INDEX messages_by_campaign ON messages (campaign, state) WHERE campaign IS NOT NULL;

CREATE TABLE campaigns (
  name     TEXT NOT NULL PRIMARY KEY,
  settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
  seq        INTEGER PRIMARY KEY,
  wall       INTEGER NOT NULL,
  device     TEXT    NOT NULL,
  message    TEXT,
  generation INTEGER NOT NULL,
  event      TEXT    NOT NULL,
  what       TEXT    NOT NULL,
  facts      TEXT,
  sum        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX history_by_device ON history (device, seq);
`;

/** What makes a store of an older version one of the next, by that older version. */
export const UPGRADES: Readonly<Record<number, string>> = {
  1: `
ALTER TABLE store ADD COLUMN result_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN results TEXT;
ALTER TABLE messages ADD COLUMN result_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN awaited_until INTEGER;
CREATE INDEX messages_by_wait ON messages (awaited_until) WHERE held = 1 AND awaited_until IS NOT NULL;
CREATE INDEX messages_by_results ON messages (forget_at, n) WHERE held = 0 AND result_bytes > 0;
`,
  2: `
ALTER TABLE messages ADD COLUMN parked_due INTEGER;
ALTER TABLE messages ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
CREATE TABLE campaigns (
  name     TEXT NOT NULL PRIMARY KEY,
  settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`,
  // Store time was wall time then.
  3: 'ALTER TABLE store ADD COLUMN wall_ahead INTEGER NOT NULL DEFAULT 0;',
};

/** The first version whose rows have sums. What comes up from an older one is given them last. */
export const SUMS_SINCE = 3;

/**
 * What every connection to a store sets first. Nothing but our own checkpoints carries the log into the store,
 * so that a failed sync can't pass unseen.
 */
export const CONNECTION_PRAGMAS = `
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA journal_size_limit = 268435456;
PRAGMA cache_size = -65536;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
`;
