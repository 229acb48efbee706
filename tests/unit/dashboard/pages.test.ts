import { request } from 'node:http';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import t from 'tap';
import { chooseEncoding, namesTag } from '../../../relay-client/dashboard-server/negotiate.ts';
import { readPages } from '../../../relay-client/dashboard-server/pages.ts';
import { startApi } from '../../fixtures/start-api.ts';

/** What a first look may weigh on the line. */
const FIRST_VIEW_BYTES = 100_000;

interface Got {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/** One request of which nothing is unpacked. */
function get(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Got> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    asked.on('error', reject).end();
  });
}

/** The files that a page names. */
function named(html: string): string[] {
  return [...html.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map(([, name = '']) => name);
}

t.test('the page and its files are served to anybody, packed, with their types', async (t) => {
  const { url } = await startApi(t, { token: 'secret-token' });
  const page = await get(`${url}/`);
  t.equal(page.status, 200);
  t.equal(page.headers['content-type'], 'text/html; charset=utf-8');
  t.equal(page.headers['content-encoding'], undefined, 'not packed for who takes nothing packed');
  const files = named(page.body.toString());
  t.ok(files.some((name) => name.endsWith('.js')) && files.some((name) => name.endsWith('.css')));
  const types: Record<string, string> = {
    js: 'text/javascript; charset=utf-8',
    css: 'text/css; charset=utf-8',
    svg: 'image/svg+xml',
  };
  let weight = 0;
  for (const name of ['', ...files]) {
    const plain = await get(`${url}/${name}`);
    const br = await get(`${url}/${name}`, { 'accept-encoding': 'gzip, deflate, br, zstd' });
    const gzip = await get(`${url}/${name}`, { 'accept-encoding': 'gzip' });
    t.same([plain.status, br.status, gzip.status], [200, 200, 200], name);
    t.same([br.headers['content-encoding'], gzip.headers['content-encoding']], ['br', 'gzip']);
    t.ok(brotliDecompressSync(br.body).equals(plain.body), 'brotli');
    t.ok(gunzipSync(gzip.body).equals(plain.body), 'gzip');
    t.equal(br.headers['vary'], 'accept-encoding');
    t.equal(Number(br.headers['content-length']), br.body.length);
    t.equal(br.headers['x-content-type-options'], 'nosniff');
    if (name !== '') t.equal(plain.headers['content-type'], types[name.split('.').at(-1) ?? ''], name);
    weight += gzip.body.length;
  }
  t.ok(weight < FIRST_VIEW_BYTES, `${weight} bytes by gzip, the larger of both packings`);
});

t.test(
  'a file named by its content is kept for ever, the page is asked for again and answered 304',
  async (t) => {
    const { url } = await startApi(t);
    const page = await get(`${url}/`, { 'accept-encoding': 'br' });
    t.equal(page.headers['cache-control'], 'no-cache');
    const tag = String(page.headers['etag']);
    const again = await get(`${url}/`, { 'accept-encoding': 'br', 'if-none-match': `"old", ${tag}` });
    t.equal(again.status, 304);
    t.equal(again.body.length, 0);
    t.equal(again.headers['etag'], tag);
    const other = await get(`${url}/`, { 'accept-encoding': 'gzip', 'if-none-match': tag });
    t.equal(other.status, 200, 'the tag is of what was sent, packing included');
    const [file = ''] = named((await get(`${url}/`)).body.toString());
    t.equal((await get(`${url}/${file}`)).headers['cache-control'], 'public, max-age=31536000, immutable');
    const licences = await get(`${url}/assets/licences.txt`);
    t.match(licences.body.toString(), /preact[^]*uplot/, 'what browsers are given is named with its licence');
    t.equal(licences.headers['cache-control'], 'no-cache');
    const head = await get(`${url}/`, {}, 'HEAD');
    t.equal(head.status, 200);
    t.equal(head.body.length, 0);
    t.equal(Number(head.headers['content-length']), (await get(`${url}/`)).body.length);
  },
);

t.test('nothing but its own files runs, shows, is asked or frames', async (t) => {
  const { url } = await startApi(t);
  const { headers, body } = await get(`${url}/`);
  const policy = new Map(
    String(headers['content-security-policy'])
      .split('; ')
      .map((part) => [part.split(' ')[0], part.split(' ').slice(1)]),
  );
  t.same(policy.get('default-src'), ["'none'"]);
  for (const name of ['script-src', 'style-src', 'connect-src', 'img-src'])
    t.same(policy.get(name), ["'self'"], name);
  for (const name of ['base-uri', 'form-action', 'frame-ancestors'])
    t.same(policy.get(name), ["'none'"], name);
  t.equal(headers['x-frame-options'], 'DENY');
  t.equal(headers['referrer-policy'], 'no-referrer');
  t.notMatch(body.toString(), /<style|style=| on[a-z]+=|https?:|<script(?![^>]* src=)/);
});

t.test('only files that were built are there', async (t) => {
  const { ask } = await startApi(t);
  for (const name of ['none.js', '..%2f..%2fpackage.json', 'index.html', ''])
    t.match(await ask('GET', `/assets/${name}`), { status: 404, json: { code: 'NOT_FOUND' } }, name);
});

t.test('a relay whose pages were not built says so, and does all else', async (t) => {
  const pages = readPages(pathToFileURL(join(t.testdir({}), 'pages.json')));
  const { ask } = await startApi(t, { pages });
  const page = await ask('GET', '/');
  t.equal(page.status, 503);
  t.match(page.text, /not built \(ENOENT.*build:dashboard/s);
  t.equal((await ask('GET', '/v1/status')).status, 200);
});

t.test('encodings are chosen as they are weighed', async (t) => {
  const chosen = [
    undefined,
    '',
    'br',
    'gzip;q=1.0, *;q=0',
    'br;q=0, gzip',
    '*',
    'GZIP',
    'identity',
    'deflate',
  ];
  t.same(chosen.map(chooseEncoding), [
    'identity',
    'identity',
    'br',
    'gzip',
    'gzip',
    'br',
    'gzip',
    'identity',
    'identity',
  ]);
  t.same(
    [undefined, '', '"a"', 'W/"a"', '"b", "a"', '*', '"ab"'].map((header) => namesTag(header, '"a"')),
    [false, false, true, true, true, true, false],
  );
});
