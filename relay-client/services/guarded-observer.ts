import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { ConnectionObserver, Exchange, Observer, UnreadExchange } from './observer.ts';
import { passiveObserver } from './passive-observer.ts';

/**
 * An observer whose faults cannot reach the phones: a call that throws is logged as an error and counts as if it had
 * changed nothing. The error's message stays out of the log, since it may quote a body.
 */
export function guardObserver(observer: Observer, log: Log): Observer {
  const guard = <T>(call: string, run: () => T, otherwise: () => T): T => {
    try {
      return run();
    } catch (error) {
      const at =
        error instanceof Error ? (error.stack?.split('\n').find((line) => /^\s+at /.test(line)) ?? '') : '';
      log.error('an observer failed; the message passes as it is', {
        call,
        error: error instanceof Error ? error.name : describeError(typeof error),
        at: at.trim(),
      });
      return otherwise();
    }
  };
  const nothing = (): undefined => undefined;

  const guardLater = (later: NonNullable<Exchange['later']>): NonNullable<Exchange['later']> =>
    later.catch((error: unknown) =>
      guard(
        'later',
        () => {
          throw error;
        },
        () => null,
      ),
    );

  const guardExchange = (inner: Exchange): Exchange => ({
    device: inner.device,
    body: inner.body,
    headers: inner.headers,
    ...(inner.local === undefined ? {} : { local: inner.local }),
    ...(inner.later === undefined ? {} : { later: guardLater(inner.later) }),
    answered: (response) =>
      guard(
        'answered',
        () => inner.answered(response),
        () => [],
      ),
    answeredUnread: (response) => guard('answeredUnread', () => inner.answeredUnread(response), nothing),
    delivered: () => guard('delivered', () => inner.delivered(), nothing),
    cut: (by) => guard('cut', () => inner.cut(by), nothing),
  });
  const guardUnread = (inner: UnreadExchange): UnreadExchange => ({
    headers: inner.headers,
    answered: (response) => guard('answered', () => inner.answered(response), nothing),
  });
  const guardConnection = (inner: ConnectionObserver, passive: ConnectionObserver): ConnectionObserver => ({
    message: (request) =>
      guard(
        'message',
        () => guardExchange(inner.message(request)),
        () => passive.message(request),
      ),
    unread: (request) =>
      guard(
        'unread',
        () => guardUnread(inner.unread(request)),
        () => passive.unread(request),
      ),
    inSession: () =>
      guard(
        'inSession',
        () => inner.inSession(),
        () => false,
      ),
    closed: (how) => guard('closed', () => inner.closed(how), nothing),
  });
  return {
    connection(origin, names) {
      const passive = passiveObserver.connection(origin);
      return guard(
        'connection',
        () => guardConnection(observer.connection(origin, names), passive),
        () => passive,
      );
    },
  };
}
