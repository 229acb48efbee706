import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Milliseconds } from '../../shared/clock.ts';
import { SallyportError } from '../../shared/errors.ts';

/** How long an invite is good. */
export const INVITE_MS: Milliseconds = 24 * 3_600_000;

/** What an invite says. It is signed with a key made of the proxy's own, so none needs to be stored. */
export interface Invite {
  relay: string;
  site: string;
}

/** Makes the token of an invite. `nonce` is random, so that no two are alike. */
export function signInvite(key: KeyObject, invite: Invite, now: Milliseconds, nonce: Buffer): string {
  const claims = { ...invite, expires: now + INVITE_MS, nonce: nonce.toString('base64url') };
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64url');
  return `${payload}.${sign(key, payload)}`;
}

/**
 * Checks a token. Only the very text that was given out passes; whether it was used before is the registry's to say.
 *
 * @throws SallyportError INVITE_INVALID, INVITE_EXPIRED
 */
export function readInvite(
  key: KeyObject,
  token: string,
  now: Milliseconds,
): Invite & { made: Milliseconds } {
  const payload = token.slice(0, Math.max(0, token.indexOf('.')));
  // Compared as text: base64 has many spellings of the same bytes, and each would count as another, unused invite.
  const shown = Buffer.from(token);
  const right = Buffer.from(`${payload}.${sign(key, payload)}`);
  if (shown.length !== right.length || !timingSafeEqual(shown, right)) {
    throw new SallyportError(
      'INVITE_INVALID',
      'the invite is not of this proxy, or its key was replaced since',
    );
  }
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Invite & {
    expires: number;
  };
  if (now >= claims.expires) {
    const at = new Date(claims.expires).toISOString();
    throw new SallyportError('INVITE_EXPIRED', `the invite was good until ${at}; make a new one`);
  }
  return { relay: claims.relay, site: claims.site, made: claims.expires - INVITE_MS };
}

function sign(key: KeyObject, payload: string): string {
  const secret = hkdfSync('sha256', key.export({ type: 'pkcs8', format: 'der' }), '', 'sallyport invite', 32);
  return createHmac('sha256', Buffer.from(secret)).update(payload).digest('base64url');
}
