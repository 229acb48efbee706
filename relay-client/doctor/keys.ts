import { existsSync, readFileSync } from 'node:fs';
import { lookAtSecretFile } from '../../shared/doctor/files.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { lookAtPair } from '../../shared/doctor/pairs.ts';
import type { ShownPair } from '../../shared/doctor/pairs.ts';
import { describeError } from '../../shared/errors.ts';
import { readPrivateKey } from '../../shared/key-pair.ts';
import type { RelayConfig } from '../config.ts';
import { readKeyFile } from '../outbox/key-file.ts';

/** Least characters of a token that nobody guesses. */
const TOKEN_CHARACTERS = 16;

/** What phones, or services in the place of phones, are shown. */
export function shownPairs({ services, contactMe }: RelayConfig): ShownPair[] {
  const deviceTls = contactMe?.deviceTls ?? null;
  return [
    ...services.flatMap((service) => {
      const tls = service.kind === 'wpi' ? service.tls : null;
      if (tls === null) return [];
      return [{ name: `service ${service.name}`, cert: tls.cert, key: tls.key, profile: tls.profile }];
    }),
    ...(deviceTls === null
      ? []
      : [
          {
            name: 'contact_me.device_tls',
            cert: deviceTls.cert,
            key: deviceTls.key,
            profile: deviceTls.profile,
          },
        ]),
  ];
}

/** Looks at every key, token and secret that the config names, and at the config where it holds a password. */
export function lookAtKeys(file: string, config: RelayConfig): Look[] {
  const pairs = shownPairs(config);
  return [
    ...linkKey('relay key', config.key),
    ...(config.formerKey === null ? [] : linkKey('former relay key', config.formerKey)),
    outboxKey(config.outbox),
    ...pairs.map(lookAtPair),
    ...pairs.map(({ name, key }) => lookAtSecretFile(`key of ${name}`, key)),
    ...token(config),
    ...config.webhooks.map(({ name, secretFile }) =>
      lookAtSecretFile(`secret of webhook ${name}`, secretFile),
    ),
    ...(config.proxies.some(({ via }) => via !== null && via.password !== '') ||
    (config.outbox.postgres ?? null)?.password
      ? [lookAtSecretFile('password in', file)]
      : []),
  ];
}

function linkKey(what: string, file: string): Look[] {
  const look = lookAtSecretFile(what, file);
  if (look.level === 'fail') return [look];
  try {
    readPrivateKey(readFileSync(file, 'utf8'), file);
    return [look];
  } catch (error) {
    return [
      fail(
        `${what} ${file}`,
        describeError(error),
        'put back the key that join made, or join again in a new directory',
      ),
    ];
  }
}

function outboxKey({ path, keyFile }: RelayConfig['outbox']): Look {
  const about = `outbox key ${keyFile}`;
  if (!existsSync(keyFile)) {
    return existsSync(path)
      ? fail(
          about,
          'is not there, but the outbox is',
          'put back the copy of it that was kept; without it what the outbox has sealed cannot be read',
        )
      : ok(about, 'is not there yet; the first start makes it');
  }
  try {
    readKeyFile(keyFile);
    return lookAtSecretFile('outbox key', keyFile);
  } catch (error) {
    return fail(about, describeError(error), 'put back the copy of it that was kept');
  }
}

function token({ api }: RelayConfig): Look[] {
  if (api === null || api.tokenFile === null) return [];
  const look = lookAtSecretFile('API token', api.tokenFile);
  if (look.level === 'fail') return [look];
  const length = readFileSync(api.tokenFile, 'utf8').trim().length;
  if (length >= TOKEN_CHARACTERS) return [look];
  const fix = `write a long random word into it: (umask 077; openssl rand -hex 32 > ${api.tokenFile})`;
  return length === 0
    ? [fail(`API token ${api.tokenFile}`, 'is empty', fix)]
    : [look, warn(`API token ${api.tokenFile}`, 'is short enough to be guessed', fix)];
}
