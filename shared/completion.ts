import { verbsOf } from './cli-shape.ts';
import type { CommandShape, Verb } from './cli-shape.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** Options whose value is a file or a directory, by how their value is called. */
const PATH_VALUE = /<(file|dir|file-or-dir)>/;

/**
 * A script that completes the program's words in a shell. It is written from the program's own commands, so that it offers exactly
 * what there is.
 */
export function completionScript(shell: Shell, program: CommandShape): string {
  switch (shell) {
    case 'bash':
      return bash(program);
    case 'zsh':
      // Zsh runs completions of bash, by its own word.
      return `#compdef ${program.name()}\nautoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n${bash(program)}`;
    case 'fish':
      return fish(program);
  }
}

const flagsOf = ({ command }: Verb): string[] => [
  ...command.options.flatMap(({ long, short }) => [long, short].filter((flag) => flag !== undefined)),
  '--help',
];

const wordsOf = (verb: Verb): string[] => [
  ...verb.command.commands.map((each) => each.name()),
  ...flagsOf(verb),
];

function bash(program: CommandShape): string {
  const name = program.name();
  const fn = `_${name.replaceAll('-', '_')}`;
  const verbs = verbsOf(program);
  const groups = verbs.filter(({ path, command }) => path !== '' && command.commands.length > 0);
  const options = verbs.flatMap(({ path, command }) => command.options.map((option) => ({ path, option })));
  const values = options.flatMap(({ path, option }) => {
    const flags = [option.long, option.short].filter((flag) => flag !== undefined);
    const patterns = flags.map((flag) => `'${path} ${flag}'`).join(' | ');
    if (option.argChoices !== undefined) {
      return [
        `    ${patterns}) COMPREPLY=($(compgen -W '${option.argChoices.join(' ')}' -- "$cur")); return ;;`,
      ];
    }
    if (PATH_VALUE.test(option.flags))
      return [`    ${patterns}) COMPREPLY=($(compgen -f -- "$cur")); return ;;`];
    return option.required || option.optional ? [`    ${patterns}) COMPREPLY=(); return ;;`] : [];
  });
  return `# Completion for ${name}. Load it by: source <(${name} completion bash)
${fn}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} verb='' word words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $word in -*) continue ;; esac
    case $verb in
      '') verb=$word ;;
${groups.map(({ path }) => `      '${path}') verb="$verb $word"; break ;;`).join('\n')}
      *) break ;;
    esac
  done
  case "$verb $prev" in
${values.join('\n')}
  esac
  case $verb in
${verbs.map((verb) => `    '${verb.path}') words='${wordsOf(verb).join(' ')}' ;;`).join('\n')}
    *) words='' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F ${fn} ${name}
`;
}

function fish(program: CommandShape): string {
  const name = program.name();
  const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = verbsOf(program).flatMap(({ path, command }) => {
    const words = path === '' ? [] : path.split(' ');
    const below = command.commands.map((each) => each.name()).join(' ');
    const here =
      words.length === 0
        ? '__fish_use_subcommand'
        : words.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
    const unless = below === '' || words.length === 0 ? '' : `; and not __fish_seen_subcommand_from ${below}`;
    return [
      ...command.commands.map(
        (each) =>
          `complete -c ${name} -f -n ${quote(here + unless)} -a ${each.name()} -d ${quote(each.description())}`,
      ),
      ...command.options.map(({ long, short, description, required, argChoices, flags }) => {
        const value = required ? (PATH_VALUE.test(flags) ? ' -r -F' : ' -x') : '';
        const choices = argChoices === undefined ? '' : ` -a ${quote(argChoices.join(' '))}`;
        const letter = short === undefined ? '' : ` -s ${short.slice(1)}`;
        return `complete -c ${name} -n ${quote(here)} -l ${(long ?? '').slice(2)}${letter}${value}${choices} -d ${quote(description)}`;
      }),
    ];
  });
  return `# Completion for ${name}. Load it by: ${name} completion fish | source\n${lines.join('\n')}\n`;
}
