/** Where a relay has its API unless its config says otherwise. */
export const DEFAULT_API_LISTEN = '127.0.0.1:9470';
