import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { readDocument } from '../fixtures/documents.ts';

export const COMPOSE = 'deploy/container/compose.yaml';

/** What an image says of the containers that are made of it. */
export interface Image {
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  User: string;
  WorkingDir: string;
  Healthcheck?: { Test: string[] };
}

/** A service as this machine can play it: every field of the compose file is in here, or reading it failed. */
export interface Service {
  image: string;
  /** The directory that is built, and the file that says how; below the checkout. */
  build: { context: string; file: string };
  /** The name of its volume, and where containers see it. */
  volume: { name: string; inside: string };
  /** Whether an engine starts it again after it has died. */
  restart: boolean;
  /** From SIGTERM to SIGKILL. */
  graceMs: number;
  /** What its output may take on the host's disk, in bytes. The engine sees to that, not the runtime. */
  logBytes: number;
  limits: { memoryBytes: number; pids: number };
  /** The runtime's words (config.json of an OCI bundle) for a container that runs `args`. */
  specification(image: Image, bundle: Bundle): object;
}

/** What of a container is not the service's matter. */
export interface Bundle {
  rootfs: string;
  args: string[];
  /** The volume, as this machine sees it. */
  volume: string;
  /** A name for its control group; null where limits cannot be had. */
  cgroup: string | null;
}

/**
 * Reads a service of a compose file.
 *
 * @throws Error that names the field, when the file has one that is not played here, or a value that is not
 */
export function readService(text: string, name: string): Service {
  const { services, volumes, ...more } = parse(text, { merge: true }) as Record<string, Written>;
  const other = Object.keys(more).filter((key) => !key.startsWith('x-'));
  if (other.length > 0) throw new Error(`compose.yaml: ${other.join(', ')} is not played here`);
  const written = services?.[name] as Written | undefined;
  if (written === undefined) throw new Error(`compose.yaml has no service ${name}`);
  const unread = new Set(Object.keys(written));
  const take = <T>(field: string, read: (value: unknown) => T | undefined): T => {
    unread.delete(field);
    const value = read(written[field]);
    if (value === undefined)
      throw new Error(
        `compose.yaml: services.${name}.${field}: ${JSON.stringify(written[field])} is not played here`,
      );
    return value;
  };

  take('network_mode', only('host'));
  take('cap_drop', only(['ALL']));
  take('security_opt', only(['no-new-privileges:true']));
  const readonly = take('read_only', (value) => (typeof value === 'boolean' ? value : undefined));
  const ulimits = take('ulimits', (value) => numbers(value, ['nofile', 'core']));
  const service = {
    image: take('image', word),
    build: take('build', (value) => {
      const { context, dockerfile, ...rest } = value as Record<string, string>;
      if (context === undefined || dockerfile === undefined || Object.keys(rest).length > 0) return undefined;
      return {
        context: join('deploy/container', context),
        file: join('deploy/container', context, dockerfile),
      };
    }),
    volume: take('volumes', (value) => {
      const [one, ...rest] = value as string[];
      const [volume = '', inside = '', ...options] = one?.split(':') ?? [];
      const named = volumes !== undefined && volume in volumes && volumes[volume] === null;
      return named && inside.startsWith('/') && rest.length + options.length === 0
        ? { name: volume, inside }
        : undefined;
    }),
    restart: take('restart', (value) => (value === 'unless-stopped' ? true : undefined)),
    graceMs: take('stop_grace_period', (value) => amount(value, { s: 1000, m: 60_000 })),
    logBytes: take('logging', (value) => {
      const { driver, options = {} } = value as { driver: string; options?: Record<string, string> };
      const { 'max-size': size, 'max-file': files, ...rest } = options;
      if (driver !== 'json-file' || Object.keys(rest).length > 0) return undefined;
      const [each, count] = [amount(size, SIZES), amount(files, { '': 1 })];
      return each === undefined || count === undefined ? undefined : each * count;
    }),
    limits: {
      memoryBytes: take('mem_limit', (value) => amount(value, SIZES)),
      pids: take('pids_limit', (value) => amount(String(value), { '': 1 })),
    },
  };
  if (unread.size > 0)
    throw new Error(`compose.yaml: services.${name}: ${[...unread].join(', ')} is not played here`);

  return {
    ...service,
    specification(image, { rootfs, args, volume, cgroup }) {
      const [uid = '0', gid = '0'] = image.User.split(':');
      const { memoryBytes, pids } = service.limits;
      const resources = { memory: { limit: memoryBytes }, pids: { limit: pids } };
      return {
        ociVersion: '1.0.2',
        root: { path: rootfs, readonly },
        process: {
          user: { uid: Number(uid), gid: Number(gid) },
          args,
          env: image.Env,
          cwd: image.WorkingDir,
          capabilities: {},
          noNewPrivileges: true,
          rlimits: Object.entries(ulimits).map(([limited, wanted]) => {
            // More than this machine has itself, none of its containers can have.
            const limit = limited === 'nofile' ? Math.min(wanted, mostFiles()) : wanted;
            return { type: `RLIMIT_${limited.toUpperCase()}`, hard: limit, soft: limit };
          }),
        },
        mounts: [
          { destination: '/proc', type: 'proc', source: 'proc' },
          {
            destination: '/dev',
            type: 'tmpfs',
            source: 'tmpfs',
            options: ['nosuid', 'mode=755', 'size=64k'],
          },
          { destination: service.volume.inside, type: 'bind', source: volume, options: ['rbind', 'rw'] },
          {
            destination: '/etc/resolv.conf',
            type: 'bind',
            source: '/etc/resolv.conf',
            options: ['rbind', 'ro'],
          },
        ],
        linux: {
          namespaces: ['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })),
          ...(cgroup === null ? {} : { cgroupsPath: cgroup, resources }),
        },
      };
    },
  };
}

/** The project's own. */
export const serviceOf = (program: 'proxy' | 'relay'): Service => readService(readDocument(COMPOSE), program);

type Written = Record<string, unknown>;

const SIZES = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

const word = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

const only =
  (wanted: unknown) =>
  (value: unknown): true | undefined =>
    JSON.stringify(value) === JSON.stringify(wanted) ? true : undefined;

/** Such as `40s` or `2g`: a number and one of the units. */
function amount(value: unknown, units: Record<string, number>): number | undefined {
  const [, digits = '', unit = ''] = /^([1-9]\d*)(\D*)$/.exec(String(value)) ?? [];
  return digits !== '' && unit in units ? Number(digits) * units[unit]! : undefined;
}

function numbers(value: unknown, names: string[]): Record<string, number> | undefined {
  const entries = Object.entries(value as Record<string, unknown>);
  const known = entries.every(([name, each]) => names.includes(name) && Number.isSafeInteger(each));
  return known ? (Object.fromEntries(entries) as Record<string, number>) : undefined;
}

/** How many files a process of this machine may open at most. */
function mostFiles(): number {
  const [, hard = '0'] = /^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return Number(hard);
}
