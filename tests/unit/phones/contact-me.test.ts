import t from 'tap';
import { sendContactMe } from '../../fixtures/services/index.ts';
import { createManualClock } from '../../phones/index.ts';
import { DEVICE, startPair, startService } from './start.ts';

t.test('POST and GET are answered 204 as a phone does, and bring a session', async (t) => {
  const { phone } = await startPair(t);
  for (const method of ['POST', 'GET'] as const) {
    const session = phone.next('session');
    const { status, headers } = await sendContactMe(phone.contactMeUri, { method });
    t.equal(status, 204);
    t.match(headers, { server: 'DlsClient', 'content-length': '0', 'content-type': 'text/html' });
    t.match(await session, { reason: 'solicited', outcome: 'completed' });
  }
  const elsewhere = phone.contactMeUri.replace('ContactDLS', 'Nowhere');
  t.equal((await sendContactMe(elsewhere)).status, 404);
});

t.test('within the contact gap a Contact-me is answered and ignored', async (t) => {
  const clock = createManualClock();
  const { phone } = await startPair(t, {}, { clock, contactGapMs: 300_000 });
  const contact = async (): Promise<string | undefined> => {
    const heard = phone.next('contact-me');
    t.equal((await sendContactMe(phone.contactMeUri)).status, 204);
    return (await heard).ignored;
  };
  const session = phone.next('session');
  t.equal(await contact(), undefined);
  await session;
  clock.advance(299_999);
  t.equal(await contact(), 'contact-gap');
  clock.advance(1);
  t.equal(await contact(), undefined);
  t.match(phone.counts, { contacts: 3, contactsIgnored: 1 });
});

t.test('the service may set the gap by dls-contact-interval', async (t) => {
  const { service, phone } = await startPair(t, { startUpItems: { 'dls-contact-interval': '60' } });
  await service.contact(DEVICE);
  const second = phone.next('contact-me');
  await service.contact(DEVICE);
  t.equal((await second).ignored, 'contact-gap');
});

t.test('a Contact-me with an address makes the phone call there, once', async (t) => {
  const other = await startService(t);
  const { service, phone } = await startPair(t);
  const callBack = { address: '127.0.0.1', port: other.port };
  const away = phone.next('session');
  await sendContactMe(phone.contactMeUri, { callBack });
  await away;
  t.equal(other.device(DEVICE)?.sessions, 1);
  const home = phone.next('session');
  await sendContactMe(phone.contactMeUri);
  await home;
  t.equal(service.device(DEVICE)?.sessions, 2);
  const stay = await startPair(t, {}, { followContactAddress: false });
  const stayed = stay.phone.next('session');
  await sendContactMe(stay.phone.contactMeUri, { callBack });
  await stayed;
  t.equal(stay.service.device(DEVICE)?.sessions, 2);
});

t.test('a phone behind NAT announces an address nobody reaches', async (t) => {
  const uri = 'http://192.168.7.7:8085/contact_dls.html/ContactDLS';
  const { service, phone } = await startPair(t, {}, { contactListen: false, contactMeUri: uri });
  t.equal(phone.contactMeUri, uri);
  t.equal(service.device(DEVICE)?.contactMeUri, uri);
});
