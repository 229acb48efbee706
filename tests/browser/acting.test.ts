import t from 'tap';
import type { Test } from 'tap';
import type { Page } from 'playwright-core';
import { DEAD, PENDING, startBusyRelay, UNKNOWN } from '../fixtures/busy-relay.ts';
import { obstacles, openPage, startBrowser, whyNoBrowser } from '../fixtures/browser.ts';
import { startGate } from '../fixtures/gate.ts';
import { phoneOf } from '../fixtures/gate-phone.ts';
import { untilGood } from '../fixtures/until.ts';

const skip = whyNoBrowser();
const TOKEN = 'correct-horse-battery';

async function signIn(page: Page, token = TOKEN): Promise<void> {
  await page.getByLabel('API token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** What the browser itself tells of a refusal, which may come after the page's own words. */
const toldOf = (faults: () => string[]): Promise<string[]> =>
  untilGood('the browser tells of it', faults, ({ length }) => length > 0);

async function startGuarded(t: Test) {
  const browser = await startBrowser(t);
  const relay = await startBusyRelay(t, { token: TOKEN });
  return { ...relay, ...(await openPage(t, browser, relay.url)) };
}

t.test('who has the token signs in, acts, and signs out', { skip }, async (t) => {
  const { page, faults, outbox, url } = await startGuarded(t);
  await page.getByLabel('API token').waitFor();
  t.same(await obstacles(page), []);
  await signIn(page, 'wrong');
  await page.getByText('This is not the token of this relay').waitFor();
  t.same(await obstacles(page), [], 'with a refusal');
  t.match(await toldOf(faults), [/401/], 'the browser itself tells of the refusal, and of nothing else');
  await signIn(page);
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.getByRole('status').filter({ hasText: '● live' }).waitFor();
  t.equal(await page.evaluate('document.cookie'), '', 'no script reads the cookie');
  const [cookie] = await page.context().cookies();
  t.match(cookie, { httpOnly: true, sameSite: 'Strict' });

  await page.goto(`${url}/#/devices/${PENDING}`);
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  await page.getByText(`Pushed: a contact-me is held for ${PENDING}`).waitFor();
  await page.getByText('generation 2', { exact: false }).first().waitFor();
  t.equal((await outbox.device(PENDING))?.generation, 2);

  const clear = page.getByRole('button', { name: 'Clear', exact: true });
  await clear.click();
  const dialog = page.getByRole('dialog', { name: `Clear what is pending for ${PENDING}?` });
  await dialog.waitFor();
  t.same(await obstacles(page), [], 'with a question');
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  t.equal((await outbox.device(PENDING))?.pending, 1, 'Escape changes nothing');
  await clear.click();
  await dialog.getByRole('button', { name: 'Clear' }).click();
  await page.getByText('One message was cleared.').waitFor();
  t.equal((await outbox.device(PENDING))?.pending, 0);

  await page.goto(`${url}/#/devices/${DEAD}`);
  await page.locator('.timeline li.vain').filter({ hasText: 'Dead: in vain' }).waitFor();
  await page.getByRole('button', { name: 'Re-drive' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Re-drive' }).click();
  await page.getByText('Held again as generation 2').waitFor();
  t.match(await outbox.device(DEAD), { pending: 1, dead: 0 });
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Cancel the message' }).click();
  await page.getByText('The message was cancelled.').waitFor();

  await page.goto(`${url}/#/devices/${UNKNOWN}`);
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  await page.getByText('Pushed: a contact-me is held').waitFor();

  await page.goto(`${url}/#/campaigns`);
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByText('spring-2026 is paused').waitFor();
  await page.getByRole('button', { name: 'Resume' }).first().click();
  await page.getByText('spring-2026 goes on').waitFor();
  await page.getByRole('button', { name: 'Abort' }).first().click();
  await page.getByRole('button', { name: 'Abort the campaign' }).click();
  await page.getByText('spring-2026 was aborted').waitFor();
  t.same(faults(), []);

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API token').waitFor();
  t.equal((await page.context().cookies()).length, 0);
});

t.test('what is refused is told, and a session that ended asks for the token again', { skip }, async (t) => {
  const { page, faults, url, outbox } = await startGuarded(t);
  await signIn(page);
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.goto(`${url}/#/devices/${PENDING}`);
  const push = page.getByRole('button', { name: 'Push', exact: true });
  // As a page would that has the cookie, but not the proof.
  await page.route('**/v1/devices/*/messages', (route) => {
    const { 'x-csrf-token': proof, ...headers } = route.request().headers();
    t.ok(proof, 'the page sends its proof');
    return route.continue({ headers });
  });
  await push.click();
  await page.getByText('Push: What is changed with a cookie needs the header x-csrf-token').waitFor();
  t.equal((await outbox.device(PENDING))?.generation, 1, 'nothing was pushed');
  t.match(await toldOf(faults), [/403/]);
  await page.unroute('**/v1/devices/*/messages');
  await page.route('**/v1/devices/*/messages', (route) => route.abort());
  await push.click();
  await page.getByText('Push: The relay does not answer. Is it running').waitFor();
  await page.unroute('**/v1/devices/*/messages');
  t.match(await toldOf(faults), [/ERR_FAILED/]);
  await page.context().clearCookies();
  await page.getByLabel('API token').waitFor();
  t.match((await toldOf(faults)).join(), /401/);
});

t.test('a phone is pushed to, and the page sees it come, through real programs', { skip }, async (t) => {
  const browser = await startBrowser(t);
  const gate = await startGate(t, { logLevel: 'info' });
  const id = '00:1a:e8:00:00:01';
  const phone = phoneOf(t, gate, id);
  await phone.start();
  const overview = await openPage(t, browser, gate.api);
  await overview.page.getByText('● nothing needs you').waitFor();
  await overview.page.getByText('● up').first().waitFor();
  const { page, faults } = await openPage(t, browser, `${gate.api}/#/devices/${id}`);
  await page.getByText('Nothing was pushed to it yet.').waitFor();
  const done = gate.service.enqueue(id, [{ action: 'WriteItems', items: { realm: 'changed' } }]);
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  const steps = page.locator('.timeline li');
  await steps
    .filter({ hasText: 'At proxies' })
    .filter({ hasText: /(now|ago), 1 of 1/ })
    .waitFor();
  t.match(await steps.filter({ hasText: 'End' }).textContent(), 'not yet');
  // The phone's poll, not ours: nothing on the page is asked to look again.
  await gate.polls(id, 202);
  await phone.pollNow();
  t.equal((await done)[0]?.status, 'accepted');
  await steps.filter({ hasText: 'Cleared' }).waitFor();
  t.match(await steps.filter({ hasText: 'Session:' }).textContent(), 'completed');
  await page.getByText('Pending', { exact: true }).waitFor();
  await overview.page.getByRole('link', { name: id }).first().waitFor();
  await overview.page.goto(`${gate.api}/#/proxies`);
  await overview.page.getByText('service wpi').waitFor();
  t.same([...faults(), ...overview.faults()], []);
});
