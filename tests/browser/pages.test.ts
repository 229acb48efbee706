import t from 'tap';
import { DEAD, IN_SESSION, PENDING, startBusyRelay, UNKNOWN } from '../fixtures/busy-relay.ts';
import { obstacles, openPage, startBrowser, whyNoBrowser } from '../fixtures/browser.ts';
import { linkedProxy, PROXY_URL } from '../fixtures/fake-view.ts';
import { startApi } from '../fixtures/start-api.ts';

const skip = whyNoBrowser();

/** Each page by its address, and words that stand on it once it has all. */
const PAGES: readonly [hash: string, heading: string, words: string][] = [
  ['#/', 'Overview', 'proxy-2.example'],
  ['#/devices', 'Devices', 'Devices 1 to 50'],
  ['#/devices?state=unknown', 'Devices', UNKNOWN],
  [`#/devices/${PENDING}`, PENDING, 'not-coming'],
  [`#/devices/${IN_SESSION}`, IN_SESSION, 'in session'],
  [`#/devices/${DEAD}`, DEAD, 'Re-drive'],
  ['#/campaigns', 'Campaigns', 'spring-2026'],
  ['#/proxies', 'Proxies', 'expired'],
  ['#/events', 'Events', 'accepted'],
  ['#/nowhere', 'Not found', 'no such page'],
];

/** And with nothing to show: what is there to teach. */
const EMPTY: readonly [hash: string, words: string][] = [
  ['#/', 'Nothing has happened yet.'],
  ['#/devices', 'No device was pushed to yet.'],
  ['#/devices?state=unknown', 'No unknown device polls.'],
  ['#/devices?q=zz', 'No device fits.'],
  ['#/campaigns', 'No campaign was begun yet.'],
  ['#/events', 'Nothing has happened yet.'],
];

/** The tables that are wider than their boxes. */
const SCROLLING = `[...document.querySelectorAll('.scroll')]
  .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
  .map((box) => box.getAttribute('aria-label'))`;

t.test('every page can be used by everybody, dark and light, wide and narrow', { skip }, async (t) => {
  const browser = await startBrowser(t);
  const { url } = await startBusyRelay(t);
  const { page, faults } = await openPage(t, browser, url);
  for (const [hash, heading, words] of PAGES) {
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.goto(`${url}/${hash}`);
    await page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
    await page.getByText(words).first().waitFor();
    for (const [colorScheme, width] of [
      ['light', 1280],
      ['dark', 360],
    ] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      t.same(await obstacles(page), [], `${hash} ${colorScheme}`);
    }
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 360, `${hash} fits 360 px`);
    t.same(await page.evaluate(SCROLLING), [], `no table of ${hash} scrolls sideways there`);
    t.match(await page.title(), `${heading} · Sallyport`);
    t.same(faults(), [], hash);
  }
});

t.test('pages without anything to show say what to do', { skip }, async (t) => {
  const browser = await startBrowser(t);
  const { url, view } = await startApi(t);
  view.state.proxies = [];
  view.state.services = [];
  const { page, faults } = await openPage(t, browser, url, { colorScheme: 'dark' });
  for (const [hash, words] of EMPTY) {
    await page.goto(`${url}/${hash}`);
    await page.getByText(words).first().waitFor();
    t.same(await obstacles(page), [], hash);
  }
  await page.goto(`${url}/#/proxies`);
  await page.getByText('sallyport-relay join').waitFor();
  t.same(faults(), []);
});

t.test('what proxies and phones say is shown as text, whatever it is', { skip }, async (t) => {
  const browser = await startBrowser(t);
  const { url, view } = await startApi(t);
  const markup = '<img src=x onerror=alert(1)>';
  view.state.proxies = [linkedProxy({ state: 'down', why: markup, version: markup })];
  view.state.figures.set(PROXY_URL, { polls: null, certificates: [{ name: markup, notAfter: Date.now() }] });
  view.state.unknown.push({ device: 'aa', at: Date.now(), address: markup, proxy: markup });
  view.state.recentWarnings.push({
    device: null,
    what: 'hostile-proxy',
    sentence: markup,
    facts: {},
    count: 1,
    at: Date.now(),
  });
  const { page, faults } = await openPage(t, browser, url);
  for (const hash of [
    '#/',
    '#/proxies',
    '#/devices?state=unknown',
    `#/devices/${encodeURIComponent(markup)}`,
  ]) {
    await page.goto(`${url}/${hash}`);
    await page.getByText(markup).first().waitFor();
    t.equal(await page.locator('#app img').count(), 0, hash);
  }
  // No device is called that: the relay refuses, and the browser tells of the refusals and of nothing else.
  t.same(
    faults().filter((fault) => !/^console: .* 400 /.test(fault)),
    [],
  );
});

t.test('the keyboard reaches everything, and one sees where it is', { skip }, async (t) => {
  const browser = await startBrowser(t);
  const { url } = await startBusyRelay(t);
  const { page } = await openPage(t, browser, `${url}/#/devices`);
  await page.getByText('Devices 1 to 50').waitFor();
  const focused = () =>
    page.evaluate<string>(`(() => {
      const at = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(at);
      const shown = outlineStyle !== 'none' && outlineWidth !== '0px' ? '' : ' UNSEEN';
      return (at.getAttribute('aria-label') || at.placeholder || at.textContent || at.value).trim() + shown;
    })()`);
  t.match(await focused(), /^Devices/, 'the heading has the focus first');
  await page.evaluate(`(() => {
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute('tabindex');
  })()`);
  const walked: string[] = [];
  for (let i = 0; i < 40 && !walked.includes('Next →'); i++) {
    await page.keyboard.press('Tab');
    walked.push(await focused());
    // Past the rows, of which each is a link.
    if (walked.at(-1)?.startsWith('Last session') === true)
      await page.evaluate('document.querySelector("tbody tr:last-child a").focus()');
  }
  t.match(walked, [
    'Skip to content',
    'Sallyport',
    'Theme: system',
    'Overview',
    'Devices',
    'Campaigns',
    'Proxies',
    'Events',
    /^Part of an id/,
  ]);
  for (const stop of ['Devices', 'Device ▲', 'Pending ↕', 'Last poll ↕', 'Last session ↕', 'Next →'])
    t.ok(walked.includes(stop), stop);
  t.same(
    walked.filter((stop) => stop.includes('UNSEEN')),
    [],
  );
  await page.keyboard.press('Enter');
  await page.getByText('Devices 51 to 100').waitFor();

  await page.getByRole('button', { name: 'Theme' }).focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  t.equal(await page.evaluate('document.documentElement.dataset.theme'), 'dark');
  await page.reload();
  await page.getByText('Devices 1 to 50').waitFor();
  t.equal(await page.evaluate('document.documentElement.dataset.theme'), 'dark', 'remembered');

  await page.keyboard.press('Tab');
  await page.evaluate('document.querySelector(".skip").focus()');
  await page.keyboard.press('Enter');
  t.equal(
    await page.evaluate('document.activeElement.id'),
    'content',
    'the skip link skips, and the page stays',
  );
  t.match(page.url(), /#\/devices$/);
});

t.test('devices are searched, filtered, sorted and turned over page by page', { skip }, async (t) => {
  const browser = await startBrowser(t);
  const { url } = await startBusyRelay(t);
  const { page, faults } = await openPage(t, browser, `${url}/#/devices`);
  const first = page.locator('tbody tr').first();
  await page.getByText('Devices 1 to 50 and more').waitFor();
  await page.getByRole('button', { name: 'Next' }).click();
  await page.getByText('Devices 51 to 100').waitFor();
  await page.getByRole('button', { name: 'Back' }).click();
  await page.getByText('Devices 1 to 50').waitFor();

  await page.getByRole('button', { name: 'Next' }).click();
  await page.getByText('Devices 51 to 100').waitFor();
  await page.getByRole('searchbox').fill('001AE8-0000-12');
  await page.getByText('Devices 1 to 1').waitFor();
  await first.getByRole('link').click();
  await page.getByRole('heading', { name: '00:1a:e8:00:00:12' }).waitFor();
  await page.goBack();
  await page.getByText('Devices 1 to 1').waitFor();
  t.equal(
    await page.getByRole('searchbox').inputValue(),
    '001AE8-0000-12',
    'who comes back finds his search',
  );
  await page.getByRole('searchbox').fill('001AE8-0000-11');
  // The search before has found one device, too.
  await first.filter({ hasText: DEAD }).waitFor();
  await page.getByText('Devices 1 to 1').waitFor();
  await page.waitForURL(/q=001AE8-0000-11/);
  await page.getByRole('searchbox').fill('');
  await page.getByRole('radio', { name: 'Dead' }).check();
  await page.getByText('Devices 1 to 1').waitFor();
  t.match(await first.textContent(), /dead/);
  await page.getByRole('radio', { name: 'All' }).check();

  await page.getByRole('button', { name: 'Last poll' }).click();
  await page
    .getByRole('columnheader', { name: 'Last poll', exact: false })
    .and(page.locator('[aria-sort=descending]'))
    .waitFor();
  await first.filter({ hasText: '00:1a:e8:00:00:00' }).waitFor();
  await page.getByRole('button', { name: 'Last poll' }).click();
  await first.filter({ hasText: '00:1a:e8:00:00:81' }).waitFor();
  t.match(await first.textContent(), /(1[5-9]|2\d) min ago/, 'who has not polled for longest');
  await page.getByRole('button', { name: 'Next' }).click();
  await page.getByText('Devices 51 to 100').waitFor();

  await page.getByRole('radio', { name: 'Unknown' }).check();
  await page.getByText('192.0.2.7').waitFor();
  t.same(faults(), []);
});
