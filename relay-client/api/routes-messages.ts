import { ApiError } from './errors.ts';
import type { Context } from './context.ts';
import { messageState, presentMessage } from './present.ts';
import { deliversActions, toPush } from './push.ts';
import { route } from './router.ts';
import type { Route } from './router.ts';
import type { Message } from '../outbox/outbox.ts';
import {
  clearQuery,
  deviceParams,
  listQuery,
  messageParams,
  noFields,
  pushQuery,
  pushShape,
} from './shapes/requests.ts';
import { acceptedShape, clearedShape, messageShape, messagesShape } from './shapes/messages.ts';
import type { AcceptedBody, ClearedBody, MessageBody } from './shapes/messages.ts';

const DEFAULT_LIST = 100;

/** Pushing to one device, and everything about single messages. */
export function messageRoutes(context: Context): Route[] {
  const { outbox, view, clock, limits } = context;
  const present = (message: Message): MessageBody => presentMessage(message, view, clock.wall());
  const presentBriefly = (message: Message): MessageBody => presentMessage(message, view, clock.wall(), true);

  return [
    route(
      {
        method: 'POST',
        path: '/v1/devices/{id}/messages',
        operation: 'push',
        summary: 'Hold a message for a device',
        description:
          'Answered once the message is durable. A newer contact-me supersedes the one that is held.',
        params: deviceParams,
        query: pushQuery,
        body: { kind: 'json', shape: pushShape },
        answers: {
          200: { description: 'The key was known: nothing was changed.', shape: acceptedShape },
          201: { description: 'Held.', shape: acceptedShape },
        },
        refusals: [409, 413, 415, 429, 503, 507],
      },
      async ({ params, query, body }) => {
        const push = toPush(params.id, body, {
          now: clock.wall(),
          defaults: context.defaults,
          spread: 0,
          campaign: null,
          courier: deliversActions(view),
        });
        const { message, known } = await outbox.push(push);
        const answer: AcceptedBody = {
          id: message.id,
          device: message.device,
          generation: message.generation,
          state: messageState(message, view),
        };
        if (query.wait === 'proxy') {
          // Later pushes may have raised the sequence since; waiting for those as well does no harm.
          const { all, proxies } = await view.heldBy(outbox.sequence(), limits.waitMs);
          answer.waited = all;
          answer.proxies = proxies;
        }
        return {
          status: known ? 200 : 201,
          headers: { location: `/v1/messages/${message.id}` },
          json: answer,
        };
      },
    ),
    route(
      {
        method: 'GET',
        path: '/v1/devices/{id}/messages',
        operation: 'listMessages',
        summary: "A device's messages, newest first",
        params: deviceParams,
        query: listQuery,
        answers: {
          200: { description: 'Held ones and ended ones that are still kept.', shape: messagesShape },
        },
      },
      async ({ params, query }) => {
        const messages = await outbox.messages(params.id, query.limit ?? DEFAULT_LIST);
        return { status: 200, json: { messages: messages.map(presentBriefly) } };
      },
    ),
    route(
      {
        method: 'DELETE',
        path: '/v1/devices/{id}/messages',
        operation: 'clear',
        summary: 'Clear what is held for a device',
        description: 'Polls turn to 200. Clearing a device for which nothing is held changes nothing.',
        params: deviceParams,
        query: clearQuery,
        answers: { 200: { description: 'The messages that were cleared.', shape: clearedShape } },
        refusals: [429, 503, 507],
      },
      async ({ params, query }) => {
        const upTo = query.generation === undefined ? {} : { generation: query.generation };
        const ended = await outbox.clear(params.id, { state: 'cleared', by: 'api', ...upTo });
        const answer: ClearedBody = {
          device: params.id,
          count: ended.length,
          messages: ended.map(presentBriefly),
        };
        return { status: 200, json: answer };
      },
    ),
    route(
      {
        method: 'GET',
        path: '/v1/messages/{id}',
        operation: 'message',
        summary: 'A message',
        params: messageParams,
        query: noFields,
        answers: { 200: { description: 'The message as it is now.', shape: messageShape } },
        refusals: [404],
      },
      async ({ params }) => {
        const message = await outbox.message(params.id);
        if (message === null) {
          throw new ApiError(
            'NOT_FOUND',
            `There is no message ${params.id}; ended messages are kept for a while only`,
            { field: 'id' },
          );
        }
        return { status: 200, json: present(message) };
      },
    ),
    route(
      {
        method: 'DELETE',
        path: '/v1/messages/{id}',
        operation: 'cancel',
        summary: 'Cancel a message',
        description: 'A message that ended already stays as it ended.',
        params: messageParams,
        query: noFields,
        answers: { 200: { description: 'The message as it is now.', shape: messageShape } },
        refusals: [404, 429, 503, 507],
      },
      async ({ params }) => ({
        status: 200,
        json: present(await outbox.end(params.id, { state: 'cancelled', by: 'api' })),
      }),
    ),
    route(
      {
        method: 'POST',
        path: '/v1/messages/{id}/redrive',
        operation: 'redrive',
        summary: 'Hold a dead message again',
        description: 'With a new generation and its original time to live.',
        params: messageParams,
        query: noFields,
        body: { kind: 'json', shape: noFields },
        answers: { 200: { description: 'The message, held again.', shape: messageShape } },
        refusals: [404, 413, 415, 429, 503, 507],
      },
      async ({ params }) => ({ status: 200, json: present(await outbox.redrive(params.id)) }),
    ),
  ];
}
