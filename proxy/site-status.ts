import type { Mailbox } from './mailbox.ts';
import type { Member, Members } from './site-links.ts';

/** What operators see of a site. */
export interface SiteStatus {
  name: string;
  /** Whether polls can be answered 202. */
  ready: boolean;
  /** Whether a relay link serves the site, whatever the service behind it does. */
  linked: boolean;
  /** Why polls are answered 200 whatever is pending; empty when ready. */
  reasons: string[];
  /** Its relays that are linked, and what is missing of each; empty = it serves. */
  relays: { name: string; roundTripMs: number | null; streams: number; reasons: string[] }[];
  held: number;
  pendingDevices: number;
  sessions: number;
  streams: number;
  position: { incarnation: string; seq: number } | null;
  services: { name: string; up: boolean }[];
}

/** What is missing of a relay that is linked; empty = it serves. */
function missing({ link, current, draining }: Member): string[] {
  const reasons: string[] = [];
  if (!link.carries()) reasons.push(`relay ${link.relay} has no stream lane`);
  if (!current) reasons.push(`relay ${link.relay} is still sending what is pending`);
  if (draining) reasons.push(`relay ${link.relay} is going away`);
  return reasons;
}

export function statusOf(
  site: { name: string; sessions: number },
  members: Members,
  mailbox: Mailbox,
): SiteStatus {
  const { messages, devices } = mailbox.counts();
  const all = members.all();
  const serving = members.serving();
  const linked = serving.length > 0;
  const ready = serving.some(({ health }) => health.ready);
  const unreachable = serving.map(({ link }) => `relay ${link.relay} cannot reach the provisioning service`);
  const unlinked = all.length === 0 ? [`no relay link for site ${site.name}`] : all.flatMap(missing);
  return {
    name: site.name,
    ready,
    linked,
    reasons: ready ? [] : linked ? unreachable : unlinked,
    relays: all.map((member) => ({
      name: member.link.relay,
      roundTripMs: member.link.roundTrip(),
      streams: member.link.streams(),
      reasons: missing(member),
    })),
    held: messages,
    pendingDevices: devices,
    sessions: site.sessions,
    streams: all.reduce((sum, { link }) => sum + link.streams(), 0),
    position: mailbox.holds(),
    services: servicesOf(all),
  };
}

/** Services by name; up where any relay reaches them. */
function servicesOf(members: Member[]): { name: string; up: boolean }[] {
  const found = new Map<string, boolean>();
  for (const { name, up } of members.flatMap(({ health }) => health.services))
    found.set(name, up || found.get(name) === true);
  return [...found].map(([name, up]) => ({ name, up }));
}
