/**
 * Makes node_modules match package-lock.json, once, whoever comes first.
 *
 * Runs on any Node >= 20 and imports nothing but Node itself, because it runs before anything is installed.
 * Done means: the stamp in node_modules equals package-lock.json followed by .taprc, byte for byte. It is
 * written last, so an interrupted run is repeated. `bin/launch.sh` makes the same comparison in shell and
 * skips this file when they are equal. With the word `with-pages` it goes on to build the dashboard's pages, which
 * bin/dashboard.ts does only where they are not what their sources make.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = realpathSync(join(dirname(fileURLToPath(import.meta.url)), '..'));
const modules = join(root, 'node_modules');
const stampFile = join(modules, '.sallyport-setup');
/** npm's own record of what it installed; npm writes it when an install is complete. */
const installedLockFile = join(modules, '.package-lock.json');
const lockName = `sallyport-setup-${createHash('sha512').update(root).digest('hex')}`;
/**
 * An abstract socket's name is all of its bytes, and Node 20 pads a shorter one with zeros where Node 24 does
 * not: two different names for one string. A name that fills the address (108 bytes) is the same in both.
 */
const socketName = `\0${lockName}`.slice(0, 108);

class SetupError extends Error {}

const withPages = process.argv[2] === 'with-pages';

const say = (line) => process.stderr.write(`sallyport: ${line}\n`);

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return '';
    throw error;
  }
}

const wantedStamp = () => read(join(root, 'package-lock.json')) + read(join(root, '.taprc'));
const isDone = () => existsSync(stampFile) && read(stampFile) === wantedStamp();

/** True when npm already installed exactly this lock file, for example by a plain `npm ci`. */
function isInstalled() {
  if (!existsSync(installedLockFile)) return false;
  const wanted = JSON.parse(read(join(root, 'package-lock.json'))).packages;
  const installed = JSON.parse(read(installedLockFile)).packages;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '' || entry.link || !path.includes('node_modules/')) return true;
    const found = installed[path];
    if (found === undefined) return entry.optional === true;
    return found.version === entry.version && found.integrity === entry.integrity;
  });
}

/**
 * Runs a command to its end. Its output goes to stderr, since stdout belongs to the program that is started
 * afterwards. `lockFd` is inherited by the child, so the lock lives as long as an npm that outlives us.
 */
function run(command, args, lockFd) {
  return new Promise((resolve, reject) => {
    const stdio = ['ignore', 2, 2];
    if (lockFd !== undefined) stdio.push(lockFd);
    const child = spawn(command, args, { cwd: root, stdio });
    const forward = (signal) => child.kill(signal);
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of signals) process.on(signal, forward);
    const settle = (action) => {
      for (const signal of signals) process.off(signal, forward);
      action();
    };
    child.once('error', (error) => settle(() => reject(error)));
    child.once('exit', (code, signal) => settle(() => resolve({ code, signal })));
  });
}

async function install(lockFd) {
  say('installing dependencies (once)…');
  // A half-deleted node_modules must not look complete to the next run.
  rmSync(stampFile, { force: true });
  rmSync(installedLockFile, { force: true });
  const args = ['ci', '--include=dev', '--include=optional', '--prefer-offline', '--no-audit', '--no-fund'];
  // Nothing we depend on needs an install script; the engine check would stop npm on the machine's older Node.
  args.push('--ignore-scripts', '--engine-strict=false', '--loglevel=error');
  // npm waits up to a minute before each retry; a machine without network should hear of it sooner.
  args.push('--fetch-retry-mintimeout=2000', '--fetch-retry-maxtimeout=10000');
  let result;
  try {
    result = await run('npm', args, lockFd);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    throw new SetupError(
      'npm was not found on PATH; install npm (it comes with Node.js 20 or newer) and run this again',
    );
  }
  if (result.code !== 0) {
    const how = result.signal === null ? `exit ${result.code}` : result.signal;
    throw new SetupError(
      `npm ci failed (${how}) in ${root}; the first run needs the npm registry: check the network, the proxy ` +
        'settings and `npm config get registry`, then run this again',
    );
  }
}

/** On a C library the pinned Node was not built for, the launchers must not find it. */
async function dropUnusableNode() {
  const pinned = join(modules, '.bin/node');
  if (!existsSync(pinned)) return;
  const works = await output(pinned, ['--version']).then(
    () => true,
    () => false,
  );
  if (works) return;
  rmSync(pinned);
  say('the pinned Node does not run on this machine; a Node.js 24 or newer on PATH is needed');
}

/** tap compiles its plugins into its test class; done here because a test run that finds them stale fails. */
async function buildTestClass(lockFd) {
  const tap = join(modules, 'tap/dist/esm/run.mjs');
  if (!existsSync(join(root, '.taprc')) || !existsSync(tap)) return;
  const pinned = join(modules, '.bin/node');
  const node = existsSync(pinned) ? pinned : process.execPath;
  const builder = join(modules, '@tapjs/test/dist/esm/build.mjs');
  const list = await output(node, [tap, 'plugin', 'list']);
  const result = await run(node, [builder, ...list.trim().split('\n')], lockFd);
  if (result.code === 0 && existsSync(join(modules, '@tapjs/test/test-built/dist/esm/index.js'))) return;
  const how = result.signal ?? `exit ${result.code}`;
  throw new SetupError(`building tap's plugins failed (${how}); remove ${modules} and run this again`);
}

function output(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 2] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk));
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0
        ? resolve(text)
        : reject(new SetupError(`${[command, ...args].join(' ')} failed (exit ${code})`)),
    );
  });
}

/** Without its pages a relay does all its work, so that a machine on which they cannot be built still has one. */
async function buildPages(lockFd) {
  const pinned = join(modules, '.bin/node');
  const node = existsSync(pinned) ? pinned : process.execPath;
  const result = await run(node, [join(root, 'bin/dashboard.ts')], lockFd);
  if (result.code === 0) return;
  const how = result.signal ?? `exit ${result.code}`;
  say(`the dashboard's pages could not be built (${how}); going on without`);
}

async function setup(lockFd) {
  if (!isDone()) {
    if (!isInstalled()) await install(lockFd);
    await dropUnusableNode();
    await buildTestClass(lockFd);
    writeFileSync(stampFile, wantedStamp());
  }
  if (withPages) await buildPages(lockFd);
}

/**
 * Linux: an abstract unix socket. The kernel gives the name to one listener and takes it back when the last
 * holder is gone, however it died, so there is nothing stale to clean up.
 */
async function withSocketLock(action) {
  let waited = false;
  for (;;) {
    const waiters = new Set();
    const server = createServer((waiter) => waiters.add(waiter.on('error', () => {}).unref())).unref();
    const taken = await new Promise((resolve, reject) => {
      server.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(true) : reject(error)));
      server.listen(socketName, () => resolve(false));
    });
    if (!taken) {
      try {
        return await action(server._handle?.fd > 2 ? server._handle.fd : undefined);
      } finally {
        server.close();
        for (const waiter of waiters) waiter.destroy();
      }
    }
    if (!waited) say('waiting for another first run to install the dependencies…');
    waited = true;
    // The connection ends when the holder does.
    await new Promise((resolve) =>
      connect(socketName)
        .on('error', () => {})
        .once('close', resolve)
        .resume(),
    );
  }
}

/** Elsewhere: a directory, which only one process can make; one left by a dead process is taken over. */
async function withDirectoryLock(action) {
  const directory = join(tmpdir(), lockName.slice(0, 48));
  const holder = join(directory, 'pid');
  const graceMs = 10_000;
  let waited = false;
  for (;;) {
    try {
      mkdirSync(directory);
      writeFileSync(holder, String(process.pid));
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (isAbandoned(directory, holder, graceMs)) {
      rmSync(directory, { recursive: true, force: true });
      continue;
    }
    if (!waited) say('waiting for another first run to install the dependencies…');
    waited = true;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  try {
    return await action(undefined);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function isAbandoned(directory, holder, graceMs) {
  const pid = Number(read(holder));
  try {
    if (pid > 0) process.kill(pid, 0);
    else return Date.now() - statSync(directory).mtimeMs > graceMs;
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

try {
  if (!existsSync(join(root, 'package-lock.json')))
    throw new SetupError(`${root} is not a checkout: no package-lock.json`);
  if (withPages || !isDone())
    await (process.platform === 'linux' ? withSocketLock : withDirectoryLock)(setup);
} catch (error) {
  say(error instanceof SetupError ? error.message : (error.stack ?? String(error)));
  process.exitCode = 1;
}
