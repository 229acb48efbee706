/** The phone's Contact-me listener: `/contact_dls.html/ContactDLS` by POST or GET (DG p.14–15). */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export const CONTACT_PATH = '/contact_dls.html/ContactDLS';
/** The body is `ContactMe=true` and perhaps an address and a port; anything near this limit is not a Contact-me. */
const MAX_BODY_BYTES = 4096;

/** A Contact-me as received. */
export type ContactMe = { method: 'GET' | 'POST'; address?: string; port?: number };

export type ContactListener = { host: string; port: number; close(): Promise<void> };

/** Listens and answers as a phone does; `port` 0 picks a free one. @throws the listen error */
export async function createContactListener(
  where: { host: string; port: number },
  onContact: (contact: ContactMe) => void,
): Promise<ContactListener> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://phone');
    const { method } = request;
    if (url.pathname !== CONTACT_PATH || (method !== 'POST' && method !== 'GET')) {
      response.writeHead(404, { Server: 'DlsClient', 'Content-Length': 0, Connection: 'close' }).end();
      return;
    }
    let body = '';
    request.setEncoding('latin1');
    request.on('data', (piece: string) => {
      body += piece;
      if (body.length > MAX_BODY_BYTES) request.destroy();
    });
    request.on('end', () => {
      response
        .writeHead(204, { Server: 'DlsClient', 'Content-Length': 0, 'Content-type': 'text/html' })
        .end(() => onContact(contactOf(method, new URLSearchParams(method === 'POST' ? body : url.search))));
    });
  });
  server.keepAliveTimeout = 1000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where.port, where.host, resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  return {
    host: address,
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function contactOf(method: 'GET' | 'POST', form: URLSearchParams): ContactMe {
  const contact: ContactMe = { method };
  const address = form.get('dls_ip_addr');
  const port = Number(form.get('dls_ip_port'));
  if (address) contact.address = address;
  if (port > 0 && port < 65536) contact.port = port;
  return contact;
}
