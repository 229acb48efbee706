import type { MessageBody } from '../../api/shapes/messages.ts';
import { ask, at } from '../data/api.ts';
import type { Deed } from '../parts/confirm.tsx';
import { number } from '../parts/words.tsx';

/** What can be done about a device and its messages, with what is asked first and told afterwards. */

export function pushing(id: string): Deed {
  return {
    label: 'Push',
    primary: true,
    question: null,
    act: async () => {
      const { state } = await ask<MessageBody>('POST', at('v1', 'devices', id, 'messages'), {});
      return `Pushed: a contact-me is ${state} for ${id}. Its next poll is answered 202.`;
    },
  };
}

export function clearing(id: string, pending: number): Deed {
  return {
    label: 'Clear',
    disabled: pending === 0,
    question: {
      title: `Clear what is pending for ${id}?`,
      text: (
        <p>
          {pending === 1 ? 'One message ends' : `${number(pending)} messages end`} as cleared, as if the phone
          had come. It is not told, and what its service has for it waits for the next push.
        </p>
      ),
      yes: 'Clear',
      grave: true,
    },
    act: async () => {
      const { count } = await ask<{ count: number }>('DELETE', at('v1', 'devices', id, 'messages'));
      return count === 1 ? 'One message was cleared.' : `${number(count)} messages were cleared.`;
    },
  };
}

export function redriving(message: MessageBody): Deed {
  return {
    label: 'Re-drive',
    question: {
      title: 'Hold the dead message again?',
      text: (
        <p>
          It was given up ({message.ended_by ?? 'dead'}). Held again it gets a new generation and its whole
          time to live; if the cause is still there, it dies again.
        </p>
      ),
      yes: 'Re-drive',
    },
    act: async () => {
      const { generation } = await ask<MessageBody>('POST', at('v1', 'messages', message.id, 'redrive'));
      return `Held again as generation ${number(generation)}.`;
    },
  };
}

export function cancelling(message: MessageBody): Deed {
  return {
    label: 'Cancel',
    question: {
      title: 'Cancel this message?',
      text: <p>It ends as cancelled; other messages of the device stay.</p>,
      yes: 'Cancel the message',
      grave: true,
    },
    act: async () => {
      await ask<MessageBody>('DELETE', at('v1', 'messages', message.id));
      return 'The message was cancelled.';
    },
  };
}
