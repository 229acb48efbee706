/** Starts a phone and a service that end with the test. */
import type { Test } from 'tap';
import {
  createPlainService,
  type PlainService,
  type PlainServiceOptions,
} from '../../fixtures/services/index.ts';
import { createPhone, type Phone, type PhoneOptions } from '../../phones/index.ts';

export const DEVICE = '00:1A:E8:00:00:01';

export async function startService(t: Test, options: PlainServiceOptions = {}): Promise<PlainService> {
  const service = await createPlainService(options);
  t.teardown(() => service.close());
  return service;
}

/** A phone of that service, not yet started; no contact gap unless asked for. */
export function makePhone(t: Test, service: PlainService, options: Partial<PhoneOptions> = {}): Phone {
  const phone = createPhone({ deviceId: DEVICE, service: service.url, contactGapMs: 0, ...options });
  t.teardown(() => phone.close());
  return phone;
}

/** A started pair; the start-up session is over. */
export async function startPair(
  t: Test,
  service: PlainServiceOptions = {},
  phone: Partial<PhoneOptions> = {},
): Promise<{ service: PlainService; phone: Phone }> {
  const made = await startService(t, service);
  const started = makePhone(t, made, phone);
  await started.start();
  return { service: made, phone: started };
}
