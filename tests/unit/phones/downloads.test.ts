import t from 'tap';
import { fileSha256 } from '../../fixtures/services/index.ts';
import { createDialer, download } from '../../phones/index.ts';
import { DEVICE, startPair, startService } from './start.ts';

const SIZE = 3_000_001;

t.test(
  'a FileDeployment is fetched over a connection of its own and reported by a status session',
  async (t) => {
    const { service, phone } = await startPair(t);
    const fetched = phone.next('download');
    const status = phone.next('session', (event) => event.reason === 'status');
    const url = `${service.url}/file/moh.wav?size=${SIZE}`;
    void service.enqueue(DEVICE, [
      { action: 'FileDeployment', items: { 'file-https-base-url': url, 'file-type': 'MOH' } },
    ]);
    await service.contact(DEVICE);
    t.match(await fetched, { status: 200, bytes: SIZE, sha256: await fileSha256('moh.wav', SIZE) });
    t.equal((await status).outcome, 'completed');
    t.equal(service.device(DEVICE)?.items.get('file-deployment-status'), 'ok');
  },
);

t.test('a cut download is reported as failed', async (t) => {
  const { service, phone } = await startPair(t, { cutDownloadsAfter: 1000 });
  const fetched = phone.next('download');
  const status = phone.next('session', (event) => event.reason === 'status');
  void service.enqueue(DEVICE, [
    { action: 'FileDeployment', items: { 'file-https-base-url': `${service.url}/file/x?size=9999` } },
  ]);
  await service.contact(DEVICE);
  t.match(await fetched, { reason: 'cut', bytes: 1000 });
  await status;
  t.equal(service.device(DEVICE)?.items.get('file-deployment-status'), 'failed');
});

t.test('several files or a deletion bring no status session', async (t) => {
  const { service, phone } = await startPair(t);
  const done = service.enqueue(DEVICE, [
    {
      action: 'FileDeployment',
      items: [
        { name: 'file-name', index: '1', value: 'a' },
        { name: 'file-name', index: '2', value: 'b' },
      ],
    },
    { action: 'FileDeployment', items: { 'file-name': 'a', 'file-action': 'delete' } },
    { action: 'FileDeployment', items: { 'file-type': 'PIC' } },
  ]);
  const ended = phone.next('session');
  await service.contact(DEVICE);
  t.match(await done, [{ status: 'accepted' }, { status: 'accepted' }, { status: 'failed' }]);
  await ended;
  await phone.idle();
  t.equal(service.device(DEVICE)?.sessions, 2, 'the start-up and the solicited one');
});

t.test('ranges are served and wrong ones refused', async (t) => {
  const { url } = await startService(t);
  const dialer = createDialer();
  t.teardown(() => dialer.close());
  const get = (range: string): ReturnType<typeof download> =>
    download(dialer, `${url}/file/f?size=100000`, { range });
  t.match(await get('bytes=70000-79999'), {
    status: 206,
    bytes: 10_000,
    sha256: await fileSha256('f', 80_000, 70_000),
  });
  t.match(await get('bytes=99990-'), { status: 206, bytes: 10 });
  t.match(await get('bytes=-5'), { status: 206, bytes: 5, sha256: await fileSha256('f', 100_000, 99_995) });
  t.match(await get('bytes=100000-'), { status: 416, bytes: 0 });
});
