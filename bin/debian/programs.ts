/** What goes into one Debian package. */
export interface Packaged {
  /** The package's, the unit's and the user's name. */
  name: 'sallyport-proxy' | 'sallyport-relay';
  program: 'proxy' | 'relay';
  /** Commands, the room that each is compiled from, and the section of its manual page. */
  commands: { name: string; room: string; section: 1 | 8 }[];
  summary: string;
  /** Lines of at most 78 characters. */
  description: string[];
  /** Files of deploy/ that an administrator may start from. */
  examples: string[];
  /** What postinst says where there is no config. */
  next: string[];
  /** For the manual page. */
  files: [file: string, what: string][];
}

const UNIT: Packaged['files'][number] = ['/usr/lib/systemd/system', 'the unit, not enabled before you do it'];

export const PACKAGES: readonly Packaged[] = [
  {
    name: 'sallyport-proxy',
    program: 'proxy',
    commands: [{ name: 'sallyport-proxy', room: 'proxy', section: 8 }],
    summary: 'answers the polls of IP phones in the DMZ',
    description: [
      'Sallyport lets a provisioning service behind a closed firewall drive IP',
      'phones outside it. The proxy stands in the DMZ: phones poll it, and their',
      'sessions pass it towards the relay inside, which has dialled out to it.',
      'It comes with the Node.js that it runs on.',
    ],
    examples: ['nftables/firewall.nft', 'nftables/proxy.nft', 'dhcp'],
    next: [
      '  runuser -u sallyport-proxy -- sallyport-proxy init /etc/sallyport-proxy --state /var/lib/sallyport-proxy/state',
      '  systemctl enable --now sallyport-proxy',
    ],
    files: [
      [
        '/etc/sallyport-proxy/proxy.yaml',
        'the config, made by init; kept when the package is removed, gone when it is purged',
      ],
      ['/var/lib/sallyport-proxy/state', "the relays' public keys; likewise"],
      UNIT,
    ],
  },
  {
    name: 'sallyport-relay',
    program: 'relay',
    commands: [
      { name: 'sallyport-relay', room: 'relay-client', section: 8 },
      { name: 'sallyport-phones', room: 'tests/phones', section: 1 },
    ],
    summary: 'keeps what is pending for IP phones and leads them to their service',
    description: [
      'Sallyport lets a provisioning service behind a closed firewall drive IP',
      'phones outside it. The relay stands inside, beside the service: it dials out',
      'to the proxy in the DMZ, tells it which phones have work, and leads their',
      'sessions to the service. It comes with the Node.js that it runs on, and with',
      'simulated phones to try a deployment with.',
    ],
    examples: ['nftables/relay.nft', 'systemd/relay-addresses.conf'],
    next: [
      '  (on the proxy) sallyport-proxy invite NAME',
      "  runuser -u sallyport-relay -- sallyport-relay join 'JOIN STRING' --dir /etc/sallyport-relay --outbox /var/lib/sallyport-relay/outbox",
      '  name your services in /etc/sallyport-relay/relay.yaml',
      '  systemctl enable --now sallyport-relay',
    ],
    files: [
      [
        '/etc/sallyport-relay/relay.yaml',
        'the config, made by join; kept when the package is removed, gone when it is purged',
      ],
      ['/etc/sallyport-relay/outbox.key', 'opens what is sealed in the outbox: keep a copy elsewhere'],
      ['/var/lib/sallyport-relay/outbox', 'what is pending; likewise kept and purged'],
      UNIT,
    ],
  },
];
