import type { Delivery, Step } from '../courier/delivery.ts';
import type { Exchange, OwnAnswer, RawHeaders } from '../services/observer.ts';
import type { Conversation, Conversations } from './conversations.ts';
import type { Following } from './following.ts';
import type { Giving } from './giving.ts';
import type { Heard } from './recognition.ts';
import type { SessionListener } from './session-events.ts';

export type Delivering = (
  conversation: Conversation,
  delivery: Delivery,
  heard: Heard,
  body: Buffer,
  headers: RawHeaders,
) => Exchange;

/** Leads messages of a session to the courier; to the service, where the courier has nothing after all. */
export function createDelivering(parts: {
  conversations: Conversations;
  listener: SessionListener;
  giving: Giving;
  follow: Following['follow'];
}): Delivering {
  const { conversations, listener, giving, follow } = parts;
  return (conversation, delivery, heard, body, headers) => {
    const { device } = conversation;
    const token = {};
    conversation.exchange = token;
    conversation.mayReply = false;
    conversation.lapse = 'cut';
    let step: Step | null = null;
    /** What it is once it has turned out to be the service's. */
    let passed: Exchange | null = null;
    const current = (): boolean => conversation.exchange === token && !conversation.over;

    const take = (found: Step | null): OwnAnswer | null => {
      if (found === null) {
        conversation.delivery = null;
        passed = follow(conversation, heard, body, headers);
        return null;
      }
      if (!current()) return found.answer;
      step = found;
      conversation.courier = true;
      conversation.answered = true;
      conversation.action = found.action ?? conversation.action;
      conversation.expected = found.expected;
      conversation.mayReply = found.outcome === null;
      conversations.establish(conversation, true);
      listener.answered(conversation, found.action);
      const cookie = device === null || found.outcome !== null ? [] : giving.own(device, conversation);
      return { ...found.answer, headers: [...found.answer.headers, ...cookie] };
    };

    return {
      device,
      body,
      headers,
      later: delivery.hear(heard.message).then(take),
      answered: (answer) => passed?.answered(answer) ?? [],
      answeredUnread: (answer) => passed?.answeredUnread(answer),
      delivered() {
        if (passed !== null) return passed.delivered();
        if (!current() || step === null) return;
        if (step.outcome !== null) conversations.end(conversation, step.outcome);
        else conversations.await(conversation);
      },
      cut(by) {
        if (passed !== null) return passed.cut(by);
        if (current()) conversations.end(conversation, 'cut');
      },
    };
  };
}
