import type { ServiceConfig } from '../services/config.ts';

/** What stands in a taught poll address in the place of the device's secret. */
const SECRET_PLACE = '{poll_secret}';

/**
 * One sentence for each poll address that phones are taught and under which a proxy would answer them nothing: with a secret where its site
 * wants none, or without where it wants one.
 *
 * @param proxies - whether each wants a secret; null = it has not said yet
 */
export function pollSecretWarnings(
  services: readonly ServiceConfig[],
  proxies: readonly { url: string; pollSecret: boolean | null }[],
): string[] {
  return services.flatMap((service) => {
    const url = service.kind === 'wpi' ? service.teach?.['dcmp-url'] : undefined;
    if (url === undefined) return [];
    const taught = url.includes(SECRET_PLACE);
    return proxies
      .filter(({ pollSecret }) => pollSecret === !taught)
      .map((proxy) => sentence(service.name, proxy.url, taught));
  });
}

const sentence = (service: string, proxy: string, taught: boolean): string =>
  taught
    ? `service ${service} teaches phones a poll address with a secret, but the site at ${proxy} wants none, and may answer such polls 404: ` +
      `set poll_secret: path for the site at the proxy, or take ${SECRET_PLACE} out of teach.dcmp-url`
    : `service ${service} teaches phones a poll address without a secret, but the site at ${proxy} wants one, so they are told of no work: ` +
      `write ${SECRET_PLACE}/ at the end of teach.dcmp-url, or set poll_secret: none for the site at the proxy`;
