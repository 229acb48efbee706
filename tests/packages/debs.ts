import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { buildPackage } from '../../bin/debian/build.ts';
import type { BuildOptions } from '../../bin/debian/build.ts';
import { PACKAGES } from '../../bin/debian/programs.ts';
import { ROOT } from '../fixtures/documents.ts';

/** Builds one package after another from one compilation. */
export interface Builder {
  /** @returns where the package is */
  build(program: 'proxy' | 'relay', revision: number, out: string): string;
}

/** Compiles the checkout into `dir`; packages are not compressed, which takes a minute and shows nothing. */
export function createBuilder(dir: string): Builder {
  const dist = join(dir, 'dist');
  const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'bin/build.ts'), dist], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`it does not compile: ${stdout}`);
  const options: Omit<BuildOptions, 'out' | 'revision'> = {
    root: ROOT,
    dist,
    node: join(ROOT, `node_modules/node-linux-${process.arch}`),
    machine: process.arch,
    seconds: 1_767_225_600,
    maintainer: 'Nobody <root@localhost>',
    compression: 'none',
  };
  return {
    build(program, revision, out) {
      const packaged = PACKAGES.find((each) => each.program === program);
      if (packaged === undefined) throw new Error(`no package for ${program}`);
      return buildPackage(packaged, { ...options, out, revision });
    },
  };
}
