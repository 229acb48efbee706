import { z } from 'zod';
import { SallyportError } from '../../shared/errors.ts';
import { ApiError } from './errors.ts';

/** The one door to the schema library: what a shape is, reading by it, and its JSON Schema. */

export { z };

/** A shape that reads unknown values as `T`. */
export type Schema<T> = z.ZodType<T>;

/** The shapes that the API's document names; each is registered once, under its name. */
export const namedShapes = z.registry<{ id: string; description: string }>();

/**
 * Reads a value by its shape.
 *
 * @param where - what is being read, for the message: `body`, `query`, …
 * @throws ApiError 400, naming the first wrong field and what was expected
 */
export function readAs<T>(schema: Schema<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const keys = issue?.code === 'unrecognized_keys' ? issue.keys : [];
  const path = [...(issue?.path ?? []), ...keys.slice(0, 1)].map(String).join('.');
  const code =
    issue?.code === 'custom' && issue.params?.['code'] === 'DEVICE_ID_INVALID'
      ? 'DEVICE_ID_INVALID'
      : 'REQUEST_INVALID';
  const expected = issue?.message ?? 'not understood';
  throw new ApiError(code, `${where}${path === '' ? '' : ` field ${path}`}: ${expected}`, {
    field: path === '' ? where : path,
  });
}

type JsonSchema = Record<string, unknown>;

/**
 * The JSON Schema (draft 2020-12, as OpenAPI 3.1 has it) of a shape, with named shapes referred to under
 * `#/components/schemas/`, and those named shapes themselves.
 *
 * @param io - `input`: what a caller may send; `output`: what is answered
 */
export function jsonSchema(
  schema: z.ZodType,
  io: 'input' | 'output',
): { schema: JsonSchema; named: Record<string, JsonSchema> } {
  const whole: JsonSchema = z.toJSONSchema(schema, {
    io,
    metadata: namedShapes,
    unrepresentable: 'throw',
    override: ({ jsonSchema: node }) => {
      // The library spells out what a date-time is; `format` says it, and readers prefer it.
      if (node.format === 'date-time') delete node.pattern;
      // Answers may gain fields; a caller must not choke on one.
      if (io === 'output' && node.additionalProperties === false) delete node.additionalProperties;
      // The bounds of every whole number in the language say nothing about this one.
      if (node.minimum === Number.MIN_SAFE_INTEGER) delete node.minimum;
      if (node.maximum === Number.MAX_SAFE_INTEGER) delete node.maximum;
      delete node.id;
    },
  });
  const relinked: unknown = JSON.parse(
    JSON.stringify(whole).replaceAll('"#/$defs/', '"#/components/schemas/'),
  );
  if (!isRecord(relinked)) throw new SallyportError('INTERNAL', 'A schema came out as no object');
  const { $defs, $schema, ...rest } = relinked;
  void $schema;
  const named: Record<string, JsonSchema> = {};
  if (isRecord($defs)) {
    for (const [name, definition] of Object.entries($defs))
      if (isRecord(definition)) named[name] = definition;
  }
  return { schema: rest, named };
}

function isRecord(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
