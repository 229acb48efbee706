import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import { headerValues } from '../services/headers.ts';
import type { Exchange, OwnAnswer, RawHeaders } from '../services/observer.ts';
import type { Conclusion, Teacher } from '../teacher/teacher.ts';
import type { AnswerCheck } from '../warnings/answers.ts';
import type { Conversation, Conversations } from './conversations.ts';
import type { Giving } from './giving.ts';
import type { Heard } from './recognition.ts';
import type { SessionListener, SessionOutcome } from './session-events.ts';
import { judge } from './verdict.ts';

/** What becomes of a message in a session that the service leads. */
export interface Following {
  /** Follows one message of a session and its answer. */
  follow(conversation: Conversation, heard: Heard, body: Buffer, headers: RawHeaders): Exchange;
  /** Answers the phone's last message of a session, of which the service has taken its leave before. */
  conclude(conversation: Conversation, conclusion: Conclusion, body: Buffer, headers: RawHeaders): Exchange;
}

export function createFollowing(parts: {
  conversations: Conversations;
  listener: SessionListener;
  giving: Giving;
  teacher: Teacher | null;
  checkAnswer: AnswerCheck;
  clock: Clock;
  log: Log;
}): Following {
  const { conversations, listener, giving, teacher, checkAnswer, clock, log } = parts;

  const conclude = (
    conversation: Conversation,
    { answer, outcome }: Conclusion,
    body: Buffer,
    headers: RawHeaders,
  ): Exchange => {
    const token = {};
    conversation.exchange = token;
    conversation.mayReply = false;
    const end = (how: SessionOutcome): void => {
      if (conversation.exchange === token) conversations.end(conversation, how);
    };
    return {
      device: conversation.device,
      body,
      headers,
      local: answer,
      answered: () => [],
      answeredUnread: () => undefined,
      delivered: () => end(outcome),
      cut: () => end('cut'),
    };
  };

  const follow = (conversation: Conversation, heard: Heard, body: Buffer, headers: RawHeaders): Exchange => {
    const { message } = heard;
    const { device } = conversation;
    const token = {};
    conversation.exchange = token;
    conversation.mayReply = false;
    conversation.lapse = 'cut';
    let outcome: SessionOutcome | null = null;
    /** False once the phone has gone on without waiting for this answer, or the session is over. */
    const current = (): boolean => conversation.exchange === token && !conversation.over;

    const take = (answer: {
      status: number;
      headers: RawHeaders;
      body: Buffer | null;
    }): RawHeaders | OwnAnswer => {
      if (!current()) return [];
      const verdict = judge(answer, { cleanUp: message.reason === 'clean-up', status: conversation.status });
      outcome = verdict.outcome;
      conversation.answered = true;
      conversation.mayReply = verdict.asksOn;
      // A reply that is said again would come as one of nobody known, and does not name its phone.
      if (verdict.repeatable && message.reason === 'reply-to') conversations.doubt(conversation.address);
      // An error is no sign that the service has taken the device up: anybody can provoke one.
      const failed = verdict.unreadable !== null || outcome === 'service-error' || outcome === 'overloaded';
      conversations.establish(conversation, !failed);
      if (verdict.action !== null) conversation.action = verdict.action;
      conversation.expected = expectedNext(conversation.expected, verdict.action);
      if (verdict.unreadable !== null) {
        conversation.lapse = 'service-error';
        listener.warn('answer-unreadable', { device, why: verdict.unreadable });
      }
      if (verdict.message !== null) {
        // A CleanUp without a nonce is a refusal, as its outcome says.
        const { nonce, action } = verdict.message;
        const refusal = action === 'CleanUp' && nonce === '';
        if (nonce !== message.nonce && !refusal) listener.warn('nonce-odd', { device, action });
        const date = headerValues(answer.headers, 'date')[0] ?? null;
        const found = checkAnswer({ device, message: verdict.message, date, now: clock.wall() });
        for (const [what, facts] of found) listener.warn(what, facts);
      }
      listener.answered(conversation, verdict.action);
      if (device === null) return giving.disown(answer);
      const cookies = (last: boolean): RawHeaders =>
        giving.learn(device, conversation, answer.headers, heard.cookies, last);
      const lesson =
        outcome === null || answer.body === null || conversation.lesson !== null
          ? null
          : (teacher?.begin({
              device,
              reason: conversation.reason,
              asked: message,
              answer: { headers: answer.headers, body: answer.body, message: verdict.message },
              outcome,
            }) ?? null);
      if (lesson === null) return cookies(outcome !== null);
      // For the phone the session goes on.
      outcome = null;
      conversation.mayReply = true;
      conversation.lesson = lesson;
      conversation.expected = [lesson.action];
      const { status, headers: lines, body: written } = lesson.answer;
      return { status, headers: [...lines, ...cookies(false)], body: written };
    };

    return {
      device,
      body,
      headers,
      answered: take,
      answeredUnread({ status, headers: answered }) {
        listener.warn('unread', { device, from: 'service' });
        take({ status, headers: answered, body: null });
      },
      delivered() {
        if (!current()) return;
        if (outcome !== null) conversations.end(conversation, outcome);
        else conversations.await(conversation);
      },
      cut(by) {
        if (!current()) return;
        log.debug('a session was cut', { session: conversation.id, device, by });
        conversations.end(conversation, 'cut');
      },
    };
  };

  return { follow, conclude };
}

/** The Actions that a phone may name in its next reply: fragments are asked for in between. */
function expectedNext(before: readonly string[], action: string | null): readonly string[] {
  if (action === null) return [];
  return action === 'GetNextFragment' ? [...new Set([...before, action])] : [action];
}
