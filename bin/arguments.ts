/**
 * Reads the command line of one of this repository's own commands by `read`. `--help` prints `help` and ends with 0; what is
 * not understood is told, with `help`, and ends with 2.
 */
export function readArguments<T>(read: () => T, help: string): T {
  if (process.argv.includes('--help')) {
    process.stdout.write(help);
    process.exit(0);
  }
  try {
    return read();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${help}`);
    process.exit(2);
  }
}
