/** What is to be said of the way to a database, in sentences for an operator; null = there is no database. */
export async function databaseWarnings(url: URL | null): Promise<string[]> {
  if (url === null) return [];
  // Loaded late: most relays have no use for the driver.
  const { postgresTls, serverName } = await import('./postgres-client.ts');
  const { host, tls } = postgresTls(url);
  if (isHere(host) || tls === 'verified') return [];
  const how =
    tls === 'none'
      ? 'is spoken to without TLS: whoever is on the way reads what is pending, takes the login, and can change both'
      : 'is spoken to by TLS without looking at its certificate: whoever is on the way can pass for it';
  return [
    `the outbox at PostgreSQL ${serverName(url)} ${how}; write ?sslmode=verify-full at the end of outbox.postgres (and sslrootcert=FILE where its certificate is of a CA of yours)`,
  ];
}

/** Whether that is a socket file, or this machine. */
function isHere(host: string): boolean {
  return host.startsWith('/') || /^(127\.|::1$|localhost$)/.test(host);
}
