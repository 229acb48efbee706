import type { Paint } from '../../shared/paint.ts';
import { defaultConfigFile } from '../../shared/program.ts';

/** Where the config is, unless the command line says otherwise. */
export const CONFIG_OPTION = ['-c, --config <file>', 'config file', defaultConfigFile('proxy')] as const;

/** The option by which all commands that print do it for programs. */
export const JSON_OPTION = ['--json', 'print JSON, one value a line'] as const;

/** What commands write to. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Colours, where `out` is read at a terminal that shows them. */
  readonly paint: Paint;
}
