import { execFile, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../fixtures/documents.ts';
import type { Owner } from '../fixtures/gate.ts';
import { whyForbidden } from '../fixtures/kernel.ts';
import { CERTIFICATES, makeBase } from './base.ts';
import { serviceOf } from './compose.ts';
import type { Image, Service } from './compose.ts';

const run = promisify(execFile);
const BASE = 'docker.io/library/node:24-bookworm-slim';
const BUILD_MS = 560_000;

/** Mounts control groups as crun wants them, all of one version; a machine may have some of each. */
const GROUPS = `
  umount -R /sys/fs/cgroup 2>/dev/null || true
  if grep -q '^memory[[:space:]][1-9]' /proc/cgroups; then
    mount -t tmpfs -o mode=755 groups /sys/fs/cgroup
    for each in memory pids; do
      mkdir /sys/fs/cgroup/$each
      mount -t cgroup -o $each groups /sys/fs/cgroup/$each
    done
  else
    mount -t cgroup2 groups /sys/fs/cgroup
  fi`;
/** The same for a crun that leaves them alone. */
const NO_GROUPS = `
  umount -R /sys/fs/cgroup 2>/dev/null || true
  mount -t cgroup2 groups /sys/fs/cgroup`;
/** The files that hold a group's limits, of whichever version. */
const limitsOf = (group: string): string => `
  cd /sys/fs/cgroup
  if [ -d memory ]; then cat memory/${group}/memory.limit_in_bytes pids/${group}/pids.max
  else cat ${group}/memory.max ${group}/pids.max; fi`;

/** Why no image can be built and run here; false when some can. */
export function whyNoImages(): string | false {
  if (process.platform !== 'linux') return 'containers need Linux';
  if (process.getuid?.() !== 0) return 'building images needs root';
  for (const tool of ['buildah', 'crun', 'dpkg-query', 'npm'])
    if (spawnSync(tool, ['--version']).error !== undefined) return `no ${tool} here`;
  const mounts = `
    mount -t tmpfs try /mnt
    mkdir /mnt/one /mnt/other
    mount --bind /mnt/one /mnt/other
    mount -t proc proc /mnt/one
    mkdir /mnt/upper /mnt/work
    mount -t overlay try -o lowerdir=/mnt/other,upperdir=/mnt/upper,workdir=/mnt/work /mnt/other
    ${NO_GROUPS}`;
  return whyForbidden('containers', mounts, ['--mount', '--pid', '--ipc', '--uts', '--fork']);
}

/** Why containers can have no limits here; false when they can. */
export function whyNoLimits(): string | false {
  const group = `sallyport-try-${process.pid}`;
  const script = `${GROUPS}
    cd /sys/fs/cgroup
    [ -d memory ] || grep -qw memory cgroup.subtree_control || echo '+memory +pids' > cgroup.subtree_control
    for each in memory pids .; do [ ! -d $each ] || mkdir $each/${group}; done
    trap 'rmdir */${group} ${group}' EXIT
    ${limitsOf(group)}`;
  return whyForbidden('limits of memory and processes', script, ['--mount']);
}

/** A shop for images, without a registry: with a base image of its own that has the name of the real one. */
export interface Shop {
  /** Builds a program's image as the compose file says. */
  build(program: 'proxy' | 'relay'): Promise<void>;
  /** Makes a service of the compose file, with an empty volume. @param wrap - goes in front, for another network */
  service(program: 'proxy' | 'relay', wrap: string[]): Promise<Container>;
}

/** One service: its image, its volume, and what the compose file says of it. */
export interface Container {
  readonly service: Service;
  /** Its volume, as this machine sees it. */
  readonly volume: string;
  /** What asks whether it is well. */
  readonly healthcheck: string[];
  /** The command that runs `args` by its entrypoint in a container of their own; without any, the image's own. */
  command(args?: string[]): string[];
  /** The same to the end; resolves to what it printed, rejects with it when it fails. */
  run(...args: string[]): Promise<string>;
  /** The command that runs `args` in a container of its own, past the entrypoint. */
  instead(...args: string[]): string[];
  /** The memory in bytes and the processes that the kernel lets the container have that was made last. */
  limits(): Promise<number[]>;
}

/** @throws Error when a tool fails; what it printed is in it */
export async function openShop(owner: Owner): Promise<Shop> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-images-'));
  // In memory, since layers cannot be laid over one another where this machine's own files lie so already.
  await run('mount', ['-t', 'tmpfs', 'images', dir]);
  const store = ['--root', join(dir, 'store'), '--runroot', join(dir, 'run'), '--storage-driver', 'overlay'];
  const buildah = async (...args: string[]): Promise<string> => {
    const options = { cwd: ROOT, maxBuffer: 2 ** 26, timeout: BUILD_MS };
    return (await run('buildah', [...store, ...args], options)).stdout.trim();
  };
  const containers: string[] = [];
  owner.teardown(async () => {
    for (const each of containers) await buildah('umount', each);
    // Its own, and those that a build leaves that was broken off.
    for (const line of readFileSync('/proc/mounts', 'utf8').split('\n').reverse()) {
      const [, place = ''] = line.split(' ');
      if (place.startsWith(dir)) await run('umount', [place]);
    }
    rmSync(dir, { recursive: true, force: true });
  });
  await importBase(dir, buildah);
  const shared = (await sharedWithBuilds()).flatMap((each) => ['--volume', each]);
  const limited = whyNoLimits() === false;

  return {
    async build(program) {
      const { image, build } = serviceOf(program);
      const how = ['--isolation', 'chroot', '--format', 'docker', '--layers', '--pull-never', ...shared];
      await buildah('build', ...how, '-f', join(ROOT, build.file), '-t', image, join(ROOT, build.context));
    },
    async service(program, wrap) {
      const service = serviceOf(program);
      const container = await buildah('from', '--pull-never', service.image);
      containers.push(container);
      const rootfs = await buildah('mount', container);
      const inspected = JSON.parse(await buildah('inspect', container)) as {
        OCIv1: { config: Image };
        Docker: { config: Image };
      };
      const image = { ...inspected.Docker.config, ...inspected.OCIv1.config };
      const volume = join(dir, `volume-${service.volume.name}`);
      // As an engine fills a new volume: with what is there in the image, and its owner.
      const filled = join(rootfs, service.volume.inside);
      cpSync(filled, volume, { recursive: true, preserveTimestamps: true });
      await run('chown', ['--reference', filled, volume]);
      await run('chmod', ['--reference', filled, volume]);
      let made = 0;
      const nameOf = (n: number): string => `sallyport-${program}-${process.pid}-${n}`;
      const command = (args: string[]): string[] => {
        const name = nameOf((made += 1));
        const bundle = join(dir, name);
        mkdirSync(bundle);
        const specification = service.specification(image, {
          rootfs,
          args,
          volume,
          cgroup: limited ? `/${name}` : null,
        });
        writeFileSync(join(bundle, 'config.json'), JSON.stringify(specification));
        const manager = limited ? 'cgroupfs' : 'disabled';
        const crun = `crun --root ${dir}/crun --cgroup-manager=${manager} run --bundle ${bundle} ${name}`;
        const script = `${limited ? GROUPS : NO_GROUPS}\nexec ${crun}`;
        return [...wrap, 'unshare', '--mount', 'sh', '-ec', script];
      };
      const byEntrypoint = (args?: string[]): string[] =>
        command([...image.Entrypoint, ...(args ?? image.Cmd)]);
      return {
        service,
        volume,
        healthcheck: image.Healthcheck?.Test.slice(1) ?? [],
        command: byEntrypoint,
        async run(...args) {
          const [file = '', ...rest] = byEntrypoint(args);
          return (await run(file, rest, { timeout: 60_000 })).stdout;
        },
        instead: (...args) => command(args),
        async limits() {
          const script = `${GROUPS}\n${limitsOf(nameOf(made))}`;
          const { stdout } = await run('unshare', ['--mount', 'sh', '-ec', script]);
          return stdout.trim().split('\n').map(Number);
        },
      };
    },
  };
}

/** What builds see of this machine: whom it trusts, how it reaches npm's registry, what it has fetched from there. */
async function sharedWithBuilds(): Promise<string[]> {
  const setting = async (name: string): Promise<string> =>
    (await run('npm', ['config', 'get', name])).stdout.trim();
  const own = await setting('userconfig');
  return [
    `${CERTIFICATES}:${CERTIFICATES}:ro`,
    `${await setting('cache')}:/root/.npm`,
    ...(existsSync(own) ? [`${own}:/root/.npmrc:ro`] : []),
  ];
}

async function importBase(dir: string, buildah: (...args: string[]) => Promise<string>): Promise<void> {
  const base = join(dir, 'base');
  makeBase(base);
  const container = await buildah('from', 'scratch');
  await buildah('add', '--quiet', container, base, '/');
  const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  await buildah('config', '--env', `PATH=${PATH}`, container);
  await buildah('commit', '--quiet', '--rm', container, BASE);
  rmSync(base, { recursive: true });
}
