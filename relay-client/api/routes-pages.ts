import type { IncomingMessage } from 'node:http';
import { chooseEncoding, namesTag } from '../dashboard-server/negotiate.ts';
import type { Page, Pages } from '../dashboard-server/pages.ts';
import { ApiError } from './errors.ts';
import { noFields } from './shapes/requests.ts';
import { route } from './router.ts';
import type { Reply, Route } from './router.ts';
import { z } from './schema.ts';

/** Only its own files run and show, it asks only its own origin, and nobody may frame it. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const PAGE_HEADERS = {
  'content-security-policy': POLICY,
  'x-frame-options': 'DENY',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cross-origin-opener-policy': 'same-origin',
};

const FOREVER = 'public, max-age=31536000, immutable';

const fileParams = z.strictObject({ name: z.string().max(200).describe('As the page names it.') });

/** The dashboard: one page and the files that it names. What they show they ask the API for. */
export function pageRoutes(pages: Pages): Route[] {
  return [
    route(
      {
        method: 'GET',
        path: '/',
        operation: 'page',
        summary: 'The dashboard',
        open: true,
        params: noFields,
        query: noFields,
        answers: {
          200: { description: 'The page; what it shows it asks for.', type: 'text/html', shape: null },
          304: { description: 'As it was when its ETag was sent.', type: null, shape: null },
          503: { description: 'The pages were not built.', type: 'text/plain', shape: null },
        },
      },
      async ({ request }) => {
        const page = pages.find('index.html');
        return page === null ? notBuilt(pages.missing) : answer(request, page);
      },
    ),
    route(
      {
        method: 'GET',
        path: '/assets/{name}',
        operation: 'pageFile',
        summary: 'A file of the dashboard',
        open: true,
        params: fileParams,
        query: noFields,
        answers: {
          200: { description: 'The file.', type: 'text/javascript', shape: null },
          304: { description: 'As it was when its ETag was sent.', type: null, shape: null },
        },
        refusals: [404],
      },
      async ({ request, params }) => {
        const page = pages.find(`assets/${params.name}`);
        if (page === null)
          throw new ApiError('NOT_FOUND', 'The dashboard has no such file now; load the page again');
        return answer(request, page);
      },
    ),
  ];
}

function answer(request: IncomingMessage, page: Page): Reply {
  const encoding = chooseEncoding(request.headers['accept-encoding']);
  const tag = `"${page.tag}-${encoding}"`;
  const headers = {
    ...PAGE_HEADERS,
    etag: tag,
    vary: 'accept-encoding',
    'cache-control': page.immutable ? FOREVER : 'no-cache',
  };
  if (namesTag(request.headers['if-none-match'], tag)) return { status: 304, headers, text: '' };
  return {
    status: 200,
    headers: {
      ...headers,
      'content-type': page.type,
      ...(encoding === 'identity' ? {} : { 'content-encoding': encoding }),
    },
    bytes: page.bytes[encoding],
  };
}

function notBuilt(why: string | null): Reply {
  return {
    status: 503,
    headers: { ...PAGE_HEADERS, 'content-type': 'text/plain; charset=utf-8' },
    text:
      `The relay runs, but its dashboard was not built (${why ?? 'it has no index.html'}).\n` +
      'Run `npm run -s build:dashboard` in the checkout and start the relay again; the API and the commands work without.\n',
  };
}
