/** What to type, by verb: shown at the end of each `--help`. A test holds that every verb has some, and that they can be parsed. */
export const PROXY_EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  '': ['init ~/proxy', 'run --config ~/proxy/proxy.yaml', 'doctor'],
  run: ['run --config proxy.yaml', 'run --config proxy.yaml --beside'],
  check: ['check --config proxy.yaml', 'check --json'],
  init: ['init ~/proxy'],
  invite: ['invite hq-1 --config proxy.yaml', 'invite hq-1 --site north --url wss://proxy.example:9443'],
  relays: ['relays', 'relays --json'],
  revoke: ['revoke hq-1'],
  health: ['health --config proxy.yaml'],
  doctor: ['doctor --config proxy.yaml', 'doctor --json'],
  completion: ['completion bash', 'completion fish'],
};
