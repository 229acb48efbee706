import type { DeviceId } from '../../shared/device-id.ts';

/** Everything that is warned of, and what it means. docs/warnings.md has a line of advice for each. */
export const WARNINGS = {
  unidentified: 'the device could not be known for certain',
  'no-session': 'a reply came that belongs to no running session',
  unreadable: "a phone's message could not be read",
  unread: 'a message was too large to be read',
  'answer-unreadable': "the service's answer could not be read",
  'nonce-odd': "the service's nonce is not the phone's",
  'nonce-missing': "the phone's message has no nonce",
  'action-odd': 'a reply names another action than the one that was sent',
  'contact-me-unsure': 'a contact-me address could not be replaced for certain, and was left',
  ftp: 'the service sends the phone to an FTP server, which is not carried',
  'inside-address': 'the service writes an address of the inside into the phone',
  'other-dcmp-url': 'the service writes another poll address than ours into the phone',
  'contacted-often': 'the service contacts the phone more often than phones bear',
  'not-coming': 'the phone was told 202 and opened no session',
  'service-clock': "the service's clock and ours differ",
  'clock-jump': "this machine's clock was set while the relay ran",
  'new-device-limit': 'too many new devices came within a minute',
  'session-limit': 'too many sessions ran at a time; the oldest was given up',
  'hostile-proxy': 'a proxy broke the rules of the link, and the link was cut',
  'proxy-limit': 'a proxy brings more than a limit allows; what is too much was refused or left out',
  'link-taken': "another link with this relay's key took the place of ours at a proxy",
} as const;

export type Warning = keyof typeof WARNINGS;

/** Facts that go with a warning. Of what was said only names and addresses, never another value. */
export type WarningFacts = { device: DeviceId | null; [fact: string]: string | number | boolean | null };

/** Tells a warning; never throws. */
export type Warn = (what: Warning, facts: WarningFacts) => void;

/** One line for a person. */
export function describeWarning(what: Warning, { device: _device, ...facts }: WarningFacts): string {
  const listed = Object.entries(facts).map(
    ([name, value]) => `${name.replaceAll('_', ' ')} ${String(value)}`,
  );
  return WARNINGS[what] + (listed.length === 0 ? '' : ` (${listed.join(', ')})`);
}
