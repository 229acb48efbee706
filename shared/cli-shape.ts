/** What is used of a command of the command line library, so that this house needs none. */
export interface CommandShape {
  name(): string;
  description(): string;
  readonly commands: readonly CommandShape[];
  readonly options: readonly {
    readonly flags: string;
    readonly description: string;
    readonly long?: string | undefined;
    readonly short?: string | undefined;
    readonly argChoices?: string[] | undefined;
    readonly required: boolean;
    readonly optional: boolean;
  }[];
  addHelpText(position: 'after', text: string): unknown;
}

/** A command with the words that lead to it, such as `campaign show`; empty for the program itself. */
export interface Verb {
  path: string;
  command: CommandShape;
}

/** Every command of a program, the program itself first. */
export function verbsOf(program: CommandShape): Verb[] {
  const below = (command: CommandShape, path: string): Verb[] => [
    { path, command },
    ...command.commands.flatMap((each) => below(each, `${path} ${each.name()}`.trim())),
  ];
  return below(program, '');
}

/** Adds its examples to the help of each verb. */
export function addExamples(
  program: CommandShape,
  examples: Readonly<Record<string, readonly string[]>>,
): void {
  for (const { path, command } of verbsOf(program)) {
    const own = examples[path];
    if (own === undefined) continue;
    const lines = own.map((line) => `  ${program.name()} ${line}\n`);
    command.addHelpText('after', `\nExamples:\n${lines.join('')}`);
  }
}
