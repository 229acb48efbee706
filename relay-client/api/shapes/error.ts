import { ERROR_CODES } from '../../../shared/errors.ts';
import { namedShapes, z } from '../schema.ts';

/** How the API refuses. */

export const errorShape = z
  .object({ code: z.enum(ERROR_CODES), message: z.string(), field: z.string().optional() })
  .register(namedShapes, { id: 'Error', description: 'Why a request was refused.' });
