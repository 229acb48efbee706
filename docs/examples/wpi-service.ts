import { createServer } from 'node:http';
import { buildServiceMessage, itemValue, readPhoneMessage } from '../../shared/wpi/index.ts';
import type { NewItem, PhoneMessage } from '../../shared/wpi/index.ts';

/** What each phone is to be told, by its `mac-addr`. */
const jobs = new Map<string, NewItem[]>();

/** The next thing to say to a phone: the nonce of what it said goes back with it. */
function answerTo(message: PhoneMessage): Buffer {
  const { nonce, reason, action, status, items } = message;
  const phone = itemValue(items, 'mac-addr');
  if (reason === 'reply-to') {
    console.log(`${action} came out as ${status}`);
    return buildServiceMessage({ nonce, action: 'CleanUp' });
  }
  const job = reason === 'start-up' ? START_UP : (jobs.get(phone ?? '') ?? []);
  if (reason === 'solicited') jobs.delete(phone ?? '');
  if (job.length === 0) return buildServiceMessage({ nonce, action: 'CleanUp' });
  return buildServiceMessage({ nonce, action: 'WriteItems', items: job });
}

const START_UP: NewItem[] = [{ name: 'dcmp-url', value: 'http://proxy.example:8080/dcmp/' }];

const server = createServer((request, response) => {
  const pieces: Buffer[] = [];
  request.on('data', (piece: Buffer) => pieces.push(piece));
  request.on('end', () => {
    const message = readPhoneMessage(Buffer.concat(pieces));
    if ('unreadable' in message) {
      console.error(`not understood: ${message.unreadable}`);
      response.writeHead(400, { 'content-length': 0 }).end();
      return;
    }
    const answer = answerTo(message);
    response.writeHead(200, { 'content-type': 'text/xml', 'content-length': answer.length }).end(answer);
  });
});

jobs.set('00:1A:E8:12:34:56', [{ name: 'realm', value: 'example' }]);
server.listen(8443, '127.0.0.1');
