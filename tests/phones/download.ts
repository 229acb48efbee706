/** A file download as FileDeployment causes it: one GET on a connection of its own, the body only counted. */
import { createHash } from 'node:crypto';
import { hostPort, parseTarget, type Dialer } from './dialer.ts';
import { HttpFault, type FaultReason } from './http-reader.ts';

export type DownloadResult = {
  /** HTTP status, or undefined when the exchange failed. */
  status: number | undefined;
  reason?: FaultReason;
  /** Body bytes that arrived, also when it was cut. */
  bytes: number;
  /** SHA-256 of those bytes, lower-case hex. */
  sha256: string;
  durationMs: number;
};

/** Fetches `url`; never rejects. `range` is the value of a Range header, e.g. `bytes=100-`. */
export async function download(
  dialer: Dialer,
  url: string,
  options: { range?: string; localAddress?: string; now?: () => number } = {},
): Promise<DownloadResult> {
  const now = options.now ?? (() => performance.now());
  const started = now();
  const hash = createHash('sha256');
  let bytes = 0;
  let status: number | undefined;
  let reason: FaultReason | undefined;
  try {
    const target = parseTarget(url);
    const path = new URL(url);
    const lines = [
      `GET ${path.pathname}${path.search} HTTP/1.1`,
      `Host: ${hostPort(target)}`,
      'Connection: close',
    ];
    if (options.range !== undefined) lines.push(`Range: ${options.range}`);
    const { localAddress } = options;
    const connection = await dialer.open(target, localAddress === undefined ? {} : { localAddress });
    const answer = await connection.request(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), {
      acceptChunked: true,
      onBody: (piece) => {
        bytes += piece.length;
        hash.update(piece);
      },
    });
    connection.close();
    status = answer.status;
  } catch (error) {
    reason = error instanceof HttpFault ? error.reason : 'malformed';
  }
  const result: DownloadResult = { status, bytes, sha256: hash.digest('hex'), durationMs: now() - started };
  if (reason !== undefined) result.reason = reason;
  return result;
}
