import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { makeCertificate } from '../../fixtures/services/index.ts';

t.test('a self-signed certificate names its hosts and is valid now', async (t) => {
  const { cert, key } = makeCertificate({
    name: 'service',
    dns: ['a.test', 'b.test'],
    ips: ['192.0.2.1', '2001:db8::1'],
  });
  const read = new X509Certificate(cert);
  t.equal(read.subject, 'CN=service');
  t.equal(
    read.subjectAltName,
    'DNS:a.test, DNS:b.test, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1',
  );
  t.ok(read.validFromDate < new Date() && read.validToDate > new Date());
  t.equal(read.ca, false);
  t.ok(read.verify(read.publicKey));
  t.match(key, /BEGIN PRIVATE KEY/);
});

t.test('a CA issues certificates of either kind of key', async (t) => {
  for (const kind of ['ec', 'rsa'] as const) {
    const ca = makeCertificate({ ca: true, name: 'Test CA', kind });
    const issued = new X509Certificate(ca.issue({ name: 'phone', kind: kind === 'ec' ? 'rsa' : 'ec' }).cert);
    const authority = new X509Certificate(ca.cert);
    t.ok(authority.ca);
    t.ok(issued.checkIssued(authority));
    t.ok(issued.verify(authority.publicKey));
    t.notOk(issued.verify(new X509Certificate(makeCertificate().cert).publicKey));
  }
});
