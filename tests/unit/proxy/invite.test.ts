import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createPrivateKeyPem, readPrivateKey } from '../../../shared/key-pair.ts';
import { INVITE_MS, readInvite, signInvite } from '../../../proxy/relays/invite.ts';

const NOW = Date.UTC(2026, 0, 5, 8);
const INVITE = { relay: 'hq-1', site: 'default' };
const key = readPrivateKey(createPrivateKeyPem(), 'proxy.key');
const token = signInvite(key, INVITE, NOW, randomBytes(16));

t.test('an invite says whom it is for, from now on for 24 hours', async (t) => {
  t.same(readInvite(key, token, NOW), { ...INVITE, made: NOW });
  t.same(readInvite(key, token, NOW + INVITE_MS - 1), { ...INVITE, made: NOW });
  t.throws(() => readInvite(key, token, NOW + INVITE_MS), {
    code: 'INVITE_EXPIRED',
    message: /until 2026-01-06T08:00:00.000Z; make a new one/,
  });
});

t.test('no two invites are alike', async (t) => {
  t.not(signInvite(key, INVITE, NOW, randomBytes(16)), token);
});

t.test('an invite of another proxy is refused', async (t) => {
  const other = readPrivateKey(createPrivateKeyPem(), 'other.key');
  t.throws(() => readInvite(other, token, NOW), { code: 'INVITE_INVALID' });
});

t.test('an invite is refused wherever one character of it was changed', async (t) => {
  for (let i = 0; i < token.length; i++) {
    const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1);
    t.throws(() => readInvite(key, changed, NOW), { code: 'INVITE_INVALID' }, `character ${i}`);
  }
});

t.test('another spelling of the same invite is refused, or it could be used once more', async (t) => {
  const [payload = '', signature = ''] = token.split('.');
  // 32 bytes are 43 characters of base64, of whose last one two bits mean nothing.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(signature.at(-1) ?? '');
  const spellings = [
    `${token}=`,
    `${token}!`,
    `${token}.more`,
    `${token}\n`,
    ` ${token}`,
    `${payload}=.${signature}`,
    `${payload}.${signature.slice(0, 20)} ${signature.slice(20)}`,
    `${payload}.${signature.slice(0, -1)}${alphabet[last ^ 1]}`,
    `${payload}.${Buffer.from(signature, 'base64url').toString('base64')}`,
  ];
  for (const spelling of spellings) {
    t.throws(() => readInvite(key, spelling, NOW), { code: 'INVITE_INVALID' }, JSON.stringify(spelling));
  }
});

t.test('what is no invite at all is refused', async (t) => {
  for (const text of ['', '.', '..', 'x', `.${token}`, 'ä.ö', token.split('.')[0] ?? '']) {
    t.throws(() => readInvite(key, text, NOW), { code: 'INVITE_INVALID' }, JSON.stringify(text));
  }
});
