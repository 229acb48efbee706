import { createPaint } from '../shared/paint.ts';
import { EXIT, explainFailure } from '../shared/program.ts';
import { openStandardOutput } from '../shared/standard-output.ts';
import { createProxyProgram, PROGRAM } from './cli/program.ts';

const program = createProxyProgram({
  out: openStandardOutput(PROGRAM),
  err: (text) => void process.stderr.write(text),
  paint: createPaint(process.stdout.isTTY === true, process.env),
});
for (const command of [program, ...program.commands]) {
  command.exitOverride((exit) => process.exit(exit.exitCode === 0 ? EXIT.ok : EXIT.usage));
}

try {
  await program.parseAsync();
} catch (error) {
  process.exit(explainFailure(program.name(), error));
}
