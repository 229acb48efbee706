import { describeError } from './errors.ts';
import { EXIT } from './program.ts';

/**
 * Where a command prints. Once nobody reads on (`| head`) the command ends, and that is no failure; where its words cannot
 * be kept, as on a full disk, it fails: whoever sent them to a file would take the half of them for all.
 */
export function openStandardOutput(program: string): (text: string) => void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    process.stderr.write(`${program}: standard output cannot be written: ${describeError(error)}\n`);
    process.exit(EXIT.failure);
  });
  return (text) => void process.stdout.write(text);
}
