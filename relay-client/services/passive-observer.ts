import type { Observer } from './observer.ts';

/** Looks at everything and does nothing. */
export const passiveObserver: Observer = {
  connection: () => ({
    message: ({ body, headers }) => ({
      device: null,
      body,
      headers,
      answered: () => [],
      answeredUnread: () => undefined,
      delivered: () => undefined,
      cut: () => undefined,
    }),
    unread: ({ headers }) => ({ headers, answered: () => undefined }),
    inSession: () => false,
    closed: () => undefined,
  }),
};
