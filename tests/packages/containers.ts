import { execFile, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { readDocument, ROOT } from '../fixtures/documents.ts';
import type { Owner } from '../fixtures/gate.ts';

const run = promisify(execFile);
const BASE = 'docker.io/library/node:24-bookworm-slim';
const CERTIFICATES = '/etc/ssl/certs';
const BUILD_MS = 400_000;

/** Why no image can be built and run here; false when some can. */
export function whyNoImages(): string | false {
  if (process.platform !== 'linux') return 'containers need Linux';
  if (process.getuid?.() !== 0) return 'building images needs root';
  for (const tool of ['buildah', 'crun', 'debootstrap'])
    if (spawnSync(tool, ['--version']).error !== undefined) return `no ${tool} here`;
  return false;
}

/** What an image says of the containers that are made of it. */
interface Image {
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  User: string;
  WorkingDir: string;
  Healthcheck?: { Test: string[] };
}

/** What deploy/container/compose.yaml says of a service, as far as a container can be told of it here. */
interface Service {
  read_only: boolean;
  cap_drop: string[];
  security_opt: string[];
  network_mode: string;
  volumes: string[];
  ulimits: Record<string, number>;
}

/** A shop for images, without a registry: with a base image of its own that has the name of the real one. */
export interface Shop {
  /** Builds a program's image by its file in deploy/container. */
  build(program: 'proxy' | 'relay'): Promise<void>;
  /** Makes a service of compose.yaml, with an empty volume. @param wrap - goes in front, for another network */
  service(program: 'proxy' | 'relay', wrap: string[]): Promise<Container>;
}

/** One service: its image, its volume, and the options of compose.yaml. */
export interface Container {
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
}

/** @throws Error when a tool fails; what it printed is in it */
export async function openShop(owner: Owner): Promise<Shop> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-images-'));
  // Layers are laid over one another, or copied where this machine's own files are laid so already.
  const { stdout: below } = await run('stat', ['--file-system', '--format=%T', dir]);
  const driver = below.trim() === 'overlayfs' ? 'vfs' : 'overlay';
  const store = ['--root', join(dir, 'store'), '--runroot', join(dir, 'run'), '--storage-driver', driver];
  const buildah = async (...args: string[]): Promise<string> => {
    const options = { cwd: ROOT, maxBuffer: 2 ** 26, timeout: BUILD_MS };
    return (await run('buildah', [...store, ...args], options)).stdout.trim();
  };
  const containers: string[] = [];
  owner.teardown(async () => {
    for (const each of containers) await buildah('umount', each);
    // A build that was broken off leaves its mounts.
    for (const line of readFileSync('/proc/mounts', 'utf8').split('\n').reverse()) {
      const [, place = ''] = line.split(' ');
      if (place.startsWith(dir)) await run('umount', [place]);
    }
    rmSync(dir, { recursive: true, force: true });
  });
  await makeBase(dir, buildah);
  const compose = parse(readDocument('deploy/container/compose.yaml'), { merge: true }) as {
    services: Record<string, Service>;
  };
  const caches = ['--volume', `${CERTIFICATES}:${CERTIFICATES}:ro`];

  return {
    async build(program) {
      const file = join(ROOT, `deploy/container/Containerfile.${program}`);
      const how = ['--isolation', 'chroot', '--format', 'docker', '--layers', '--pull-never', ...caches];
      await buildah('build', ...how, '-f', file, '-t', `sallyport-${program}`, ROOT);
    },
    async service(program, wrap) {
      const container = await buildah('from', '--pull-never', `sallyport-${program}`);
      containers.push(container);
      const rootfs = await buildah('mount', container);
      const inspected = JSON.parse(await buildah('inspect', container)) as {
        OCIv1: { config: Image };
        Docker: { config: Image };
      };
      const image = { ...inspected.Docker.config, ...inspected.OCIv1.config };
      const service = compose.services[program]!;
      const volume = join(dir, `volume-${program}`);
      // As an engine fills a new volume: with what is there in the image, and its owner.
      const [, inside = ''] = service.volumes[0]!.split(':');
      cpSync(join(rootfs, inside), volume, { recursive: true, preserveTimestamps: true });
      await run('chown', ['--reference', join(rootfs, inside), volume]);
      await run('chmod', ['--reference', join(rootfs, inside), volume]);
      let made = 0;
      const command = (args: string[]): string[] => {
        const bundle = join(dir, `${program}-${(made += 1)}`);
        mkdirSync(bundle);
        writeFileSync(
          join(bundle, 'config.json'),
          JSON.stringify(specification(image, service, { rootfs, args, volume, inside })),
        );
        const crun = `crun --root ${dir}/crun --cgroup-manager=disabled run --bundle ${bundle} ${program}-${process.pid}-${made}`;
        // It wants cgroups of one version, and this machine may have both.
        return [
          ...wrap,
          'unshare',
          '--mount',
          'sh',
          '-c',
          `umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup; exec ${crun}`,
        ];
      };
      const byEntrypoint = (args?: string[]): string[] =>
        command([...image.Entrypoint, ...(args ?? image.Cmd)]);
      return {
        volume,
        healthcheck: image.Healthcheck?.Test.slice(1) ?? [],
        command: byEntrypoint,
        async run(...args) {
          const [file = '', ...rest] = byEntrypoint(args);
          return (await run(file, rest, { timeout: 60_000 })).stdout;
        },
        instead: (...args) => command(args),
      };
    },
  };
}

/** The runtime's words for what image and compose file say. */
function specification(
  image: Image,
  service: Service,
  { rootfs, args, volume, inside }: { rootfs: string; args: string[]; volume: string; inside: string },
): object {
  const [uid = '0', gid = '0'] = image.User.split(':');
  if (service.network_mode !== 'host')
    throw new Error(`network_mode ${service.network_mode} is not played here`);
  return {
    ociVersion: '1.0.2',
    root: { path: rootfs, readonly: service.read_only },
    process: {
      user: { uid: Number(uid), gid: Number(gid) },
      args,
      env: image.Env,
      cwd: image.WorkingDir,
      capabilities: service.cap_drop.includes('ALL') ? {} : undefined,
      noNewPrivileges: service.security_opt.includes('no-new-privileges:true'),
      rlimits: Object.entries(service.ulimits).map(([name, wanted]) => {
        // More than this machine has itself, none of its containers can have.
        const limit = name === 'nofile' ? Math.min(wanted, mostFiles()) : wanted;
        return { type: `RLIMIT_${name.toUpperCase()}`, hard: limit, soft: limit };
      }),
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      { destination: inside, type: 'bind', source: volume, options: ['rbind', 'rw'] },
      { destination: '/etc/resolv.conf', type: 'bind', source: '/etc/resolv.conf', options: ['rbind', 'ro'] },
    ],
    linux: { namespaces: ['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })) },
  };
}

/** How many files a process of this machine may open at most. */
function mostFiles(): number {
  const [, hard = '0'] = /^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return Number(hard);
}

/** Debian's smallest system with Node.js, npm and the user `node`, as the real one has them. */
async function makeBase(dir: string, buildah: (...args: string[]) => Promise<string>): Promise<void> {
  const root = join(dir, 'base');
  await run('debootstrap', ['--variant=minbase', 'bookworm', root], {
    timeout: BUILD_MS,
    maxBuffer: 2 ** 26,
  });
  const node = join(ROOT, `node_modules/node-linux-${process.arch}/bin/node`);
  cpSync(node, join(root, 'usr/local/bin/node'));
  const PATH = `${dirname(node)}:${process.env['PATH'] ?? ''}`;
  await run(
    'npm',
    ['install', '--global', '--prefix', join(root, 'usr/local'), '--loglevel=error', 'npm@11'],
    {
      env: { ...process.env, PATH },
      timeout: BUILD_MS,
    },
  );
  // Whoever builds behind a proxy that opens TLS has its authority among this machine's.
  mkdirSync(join(root, 'usr/local/etc'), { recursive: true });
  writeFileSync(join(root, 'usr/local/etc/npmrc'), `cafile=${CERTIFICATES}/ca-certificates.crt\n`);
  await run('chroot', [root, 'useradd', '--uid', '1000', '--user-group', '--create-home', 'node']);
  const container = await buildah('from', 'scratch');
  await buildah('add', '--quiet', container, root, '/');
  await buildah(
    'config',
    '--env',
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    container,
  );
  await buildah('commit', '--quiet', '--rm', container, BASE);
  rmSync(root, { recursive: true });
}
