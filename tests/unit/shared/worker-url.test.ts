import t from 'tap';
import { workerUrl } from '../../../shared/worker-url.ts';

t.test('a worker beside a source is a source, and compiled beside a compiled module', async (t) => {
  t.equal(workerUrl('file:///a/proxy/main.ts', './poll-worker').href, 'file:///a/proxy/poll-worker.ts');
  t.equal(workerUrl('file:///a/dist/proxy/main.js', '../shared/w').href, 'file:///a/dist/shared/w.js');
});
