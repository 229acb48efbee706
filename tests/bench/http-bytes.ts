const HEAD_END = Buffer.from('\r\n\r\n');

/** Whether `bytes` are one whole answer 200 with a Content-Length. */
export function readAnswer(bytes: Buffer): 'whole' | 'more' | 'bad' {
  const size = messageSize(bytes);
  if (size === null) return 'more';
  // "HTTP/1.1 200": the status is all that differs.
  if (bytes[9] !== 0x32 || bytes[10] !== 0x30 || size < bytes.length) return 'bad';
  return size === bytes.length ? 'whole' : 'more';
}

/** Bytes of the message that `bytes` begin with, head and body; null while its head isn't whole. */
export function messageSize(bytes: Buffer): number | null {
  const head = bytes.indexOf(HEAD_END);
  if (head < 0) return null;
  const text = bytes.toString('latin1', 0, head + 2);
  const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(text)?.[1] ?? '0';
  return head + HEAD_END.length + Number(length);
}
