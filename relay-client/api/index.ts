export { presentTold } from './present.ts';
export { createApi } from './server.ts';
export type { Api, ApiOptions } from './server.ts';
export { createDeskClient } from './client.ts';
export type { DeskClient } from './client.ts';
export { DEFAULT_API_LIMITS, DEFAULT_PUSH } from './limits.ts';
export type { ApiLimits, PushDefaults } from './limits.ts';
