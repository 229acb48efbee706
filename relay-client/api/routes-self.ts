import { openApiDocument } from './openapi.ts';
import { route } from './router.ts';
import type { Route } from './router.ts';
import { z } from './schema.ts';
import { noFields } from './shapes/requests.ts';

/** The document of the API, which describes itself as well. */
export function selfRoutes(others: readonly Route[], version: string): Route[] {
  const routes: Route[] = [
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
