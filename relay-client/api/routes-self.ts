import { openApiDocument } from './openapi.ts';
import { statusPage } from './page.ts';
import { route } from './router.ts';
import type { Route } from './router.ts';
import { z } from './schema.ts';
import { noFields } from './request-shapes.ts';

/** What another dashboard brings in place of the built-in page. */
export interface Dashboard {
  html: string;
  /** Its Content-Security-Policy. */
  policy: string;
}

/** The page and the document of the API, which describes these two as well. */
export function selfRoutes(others: readonly Route[], version: string, dashboard: Dashboard | null): Route[] {
  const page = dashboard ?? statusPage();
  const routes: Route[] = [
    route(
      {
        method: 'GET',
        path: '/',
        operation: 'page',
        summary: 'A page that shows the status',
        open: true,
        params: noFields,
        query: noFields,
        answers: {
          200: {
            description: 'The page; what it shows it asks for with the token.',
            type: 'text/html',
            shape: null,
          },
        },
      },
      async () => ({
        status: 200,
        headers: {
          'content-type': 'text/html; charset=utf-8',
          'content-security-policy': page.policy,
          'x-frame-options': 'DENY',
        },
        text: page.html,
      }),
    ),
    route(
      {
        method: 'GET',
        path: '/openapi.json',
        operation: 'document',
        summary: 'This document',
        params: noFields,
        query: noFields,
        answers: { 200: { description: 'OpenAPI 3.1.', shape: z.record(z.string(), z.unknown()) } },
      },
      async () => ({ status: 200, json: document }),
    ),
  ];
  const document = openApiDocument([...others, ...routes], version);
  return routes;
}
