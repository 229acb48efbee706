import { codesOf } from './errors.ts';
import type { Route } from './router.ts';
import { jsonSchema } from './schema.ts';
import { errorShape } from './shapes/error.ts';

type Json = Record<string, unknown>;

/** Refusals that any route can come to. */
const COMMON_REFUSALS = [400, 405, 421, 500];

const REFUSED_BECAUSE: Record<number, string> = {
  400: 'The request is invalid; `field` names what is wrong.',
  401: 'The token is missing or wrong.',
  403: 'A page of another origin asked, or one without the proof that a cookie needs.',
  404: 'There is no such thing.',
  405: 'The method does nothing here.',
  409: 'The key was used with another content.',
  413: 'The body is too large.',
  415: 'The body is of another content type.',
  421: 'The Host header names something else (only on loopback, and not where the token is sent).',
  429: 'Too much at once, or too many wrong tokens; try again after `Retry-After`.',
  500: 'The relay failed; its log says why.',
  503: 'The outbox is full or closed; try again after `Retry-After`.',
  507: 'The disk took no more; nothing was accepted.',
};

/** The OpenAPI 3.1 document, made from the very table that requests are routed by. */
export function openApiDocument(routes: readonly Route[], version: string): Json {
  const schemas: Json = {};
  const use = (shape: Parameters<typeof jsonSchema>[0], io: 'input' | 'output'): Json => {
    const { schema, named } = jsonSchema(shape, io);
    Object.assign(schemas, named);
    return schema;
  };
  const paths: Record<string, Json> = {};
  for (const each of routes)
    (paths[each.spec.path] ??= {})[each.spec.method.toLowerCase()] = operationOf(each, use);
  use(errorShape, 'output');
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport relay',
      version,
      description: 'Holds messages for phones and tells where they stand.',
    },
    paths,
    components: {
      schemas,
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        cookie: {
          type: 'apiKey',
          in: 'cookie',
          name: 'sallyport_session',
          description: 'Of a browser that has signed in at /v1/session; the port follows the name.',
        },
      },
    },
  };
}

type Use = (shape: Parameters<typeof jsonSchema>[0], io: 'input' | 'output') => Json;

function operationOf({ spec }: Route, use: Use): Json {
  return {
    operationId: spec.operation,
    summary: spec.summary,
    ...(spec.description === undefined ? {} : { description: spec.description }),
    security: spec.open === true ? [] : [{ token: [] }, { cookie: [] }, {}],
    parameters: [
      ...parametersOf('path', use(spec.params, 'input')),
      ...parametersOf('query', use(spec.query, 'input')),
    ],
    ...(spec.body === undefined ? {} : { requestBody: bodyOf(spec.body, use) }),
    responses: responsesOf(spec, use),
  };
}

function parametersOf(place: 'path' | 'query', schema: Json): Json[] {
  const required = Array.isArray(schema['required']) ? schema['required'] : [];
  return Object.entries((schema['properties'] ?? {}) as Record<string, Json>).map(
    ([name, { description, ...rest }]) => ({
      name,
      in: place,
      required: place === 'path' || required.includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    }),
  );
}

function bodyOf(body: NonNullable<Route['spec']['body']>, use: Use): Json {
  if (body.kind === 'json')
    return { required: false, content: { 'application/json': { schema: use(body.shape, 'input') } } };
  const schema = use(body.line, 'input');
  return { required: true, content: Object.fromEntries(body.types.map((type) => [type, { schema }])) };
}

/** Every status that a route may answer, with what it means. */
function statusesOf(spec: Route['spec']): number[] {
  const guarded = spec.open === true ? [] : [401];
  const comparing = spec.anyHost === true ? [] : [429];
  const changing = spec.method === 'GET' ? [] : [403];
  const all = [
    ...Object.keys(spec.answers).map(Number),
    ...(spec.refusals ?? []),
    ...COMMON_REFUSALS,
    ...guarded,
    ...comparing,
    ...changing,
  ];
  return [...new Set(all)].sort((a, b) => a - b);
}

function responsesOf(spec: Route['spec'], use: Use): Json {
  const error = { $ref: '#/components/schemas/Error' };
  return Object.fromEntries(
    statusesOf(spec).map((status) => {
      const answer = spec.answers[status];
      if (answer === undefined) {
        const codes = codesOf(status).join(', ');
        return [
          status,
          {
            description: `${REFUSED_BECAUSE[status] ?? ''} Codes: ${codes}.`,
            content: { 'application/json': { schema: error } },
          },
        ];
      }
      if (answer.type === null) return [status, { description: answer.description }];
      const content = {
        [answer.type ?? 'application/json']: {
          schema: answer.shape === null ? { type: 'string' } : use(answer.shape, 'output'),
        },
      };
      return [status, { description: answer.description, content }];
    }),
  );
}
