import { explainFailure } from '../shared/program.ts';
import { runCommandLine } from './cli/desk.ts';
import { processIo } from './cli/io.ts';
import { createRelayProgram } from './cli/program.ts';

const program = createRelayProgram(processIo());

try {
  await runCommandLine(program, process.argv.slice(2), { exit: (code) => process.exit(code) });
} catch (error) {
  process.exit(explainFailure(program.name(), error));
}
