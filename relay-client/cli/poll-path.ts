import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { parseDeviceId } from '../../shared/device-id.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { pollPath, pollSecretOf } from '../../shared/poll-secret.ts';
import { CONFIG_OPTION, JSON_OPTION } from './command.ts';

/**
 * Adds the command that says where devices poll at a site with `poll_secret: path`. It needs no running relay, and works for
 * devices that nobody has heard of: services write poll addresses into phones before these are ever pushed to.
 *
 * @param secretOf - the secret from which those of devices are made, by the relay's config
 */
export function addPollPath(
  program: Command,
  secretOf: (config: string) => Promise<Uint8Array>,
  say: (text: string) => void,
): void {
  program
    .command('poll-path')
    .description(
      "what follows the poll door's prefix where a device polls, at a site with poll_secret: path; a secret",
    )
    .argument('<device...>', 'device ids', readDevices)
    .option(...CONFIG_OPTION)
    .option(...JSON_OPTION)
    .action(async (devices: DeviceId[], { config: file, json }: { config: string; json?: boolean }) => {
      const siteSecret = await secretOf(file);
      for (const device of devices) {
        const secret = pollSecretOf(siteSecret, device);
        const path = pollPath(secret, device);
        say(json === true ? JSON.stringify({ device, poll_secret: secret, poll_path: path }) : path);
      }
    });
}

function readDevices(text: string, before: DeviceId[] = []): DeviceId[] {
  const device = parseDeviceId(text);
  if (device === null) throw new InvalidArgumentError('It is no device id, such as 00:1a:e8:00:00:01.');
  return [...before, device];
}
