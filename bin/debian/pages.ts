import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Turns what a program prints on a screen into what troff leaves as it is. */
const verbatim = (text: string): string =>
  text
    .trimEnd()
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^(?=[.'])/gm, '\\&');

/** What a manual page is made of. */
export interface Manual {
  program: string;
  /** 1 for everybody's programs, 8 for administrators'. */
  section: 1 | 8;
  version: string;
  date: string;
  /** What `--help` prints. */
  help: string;
  /** What each command's `--help` prints, by its name. */
  commands: [name: string, help: string][];
  files: [file: string, what: string][];
}

/** A manual page, made of what `--help` prints. */
export function manualPage({ program, section, version, date, help, commands, files }: Manual): string {
  const described = help.replace(/^Usage:.*\n\n/, '').split('\n\n', 1)[0] ?? '';
  const sentence = described.replaceAll('\n', ' ').replace(/\.$/, '');
  const shown = (text: string): string[] => ['.nf', verbatim(text), '.fi'];
  return [
    `.TH ${program.toUpperCase().replaceAll('-', '\\-')} ${section} "${date}" "Sallyport ${version}"`,
    '.SH NAME',
    `${program.replaceAll('-', '\\-')} \\- ${verbatim(sentence.charAt(0).toLowerCase() + sentence.slice(1))}`,
    '.SH SYNOPSIS',
    ...shown(help),
    '.SH COMMANDS',
    ...commands.flatMap(([name, text]) => [`.SS ${verbatim(name)}`, ...shown(text)]),
    ...(files.length === 0 ? [] : ['.SH FILES']),
    ...files.flatMap(([file, what]) => ['.TP', `.I ${verbatim(file)}`, verbatim(what)]),
    '.SH EXIT STATUS',
    '0 after a signal or when all is well, 2 for a bad config or command line, 1 for everything else.',
    '',
  ].join('\n');
}

/** Debian's changelog of one revision; what changed in Sallyport itself is in the other one. */
export function debianChangelog(name: string, version: string, maintainer: string, seconds: number): string {
  // RFC 5322, in UTC, as dpkg reads it.
  const date = new Date(seconds * 1000).toUTCString().replace('GMT', '+0000');
  return `${name} (${version}) stable; urgency=medium

  * Packages this version of Sallyport; changelog.gz tells what changed in it.

 -- ${maintainer}  ${date}
`;
}

/** Everything in a package that is not ours, with its licence. */
export interface Part {
  name: string;
  /** Where it lies in the package. */
  place: string;
  licence: string;
  /** The licence's text. */
  text: string;
}

/**
 * @param folder - a package of npm
 * @throws Error when it comes with no word on its licence
 */
export function partOf(folder: string, place: string): Part {
  const { name, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    name: string;
    license?: string;
  };
  const file = readdirSync(folder).find((each) => /^(LICEN[CS]E|COPYING)/i.test(each));
  if (license === undefined) throw new Error(`${folder} does not say its licence`);
  const notice = join(folder, 'NOTICE');
  const text =
    license === 'Apache-2.0'
      ? 'On Debian the text is in /usr/share/common-licenses/Apache-2.0.'
      : file === undefined
        ? `${license}, as its package.json says.`
        : readFileSync(join(folder, file), 'utf8');
  return {
    name,
    place,
    licence: license,
    text: existsSync(notice) ? `${text}\n${readFileSync(notice, 'utf8')}` : text,
  };
}

/** Debian's machine-readable copyright file, every licence in full that Debian does not have. */
export function copyrightFile(own: string, parts: readonly Part[]): string {
  const indented = (text: string): string =>
    text
      .replaceAll('\r', '')
      .trim()
      .split('\n')
      .map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`))
      .join('\n');
  const holder = (text: string): string =>
    /^\W*copyright\b(?: \(c\)| ©)? ((?:\d{4}|[A-Z])[^[\]]*)$/im.exec(text)?.[1]?.trim() ??
    'its authors, see below';
  const stanza = (files: string, name: string, licence: string, text: string): string =>
    [
      `Files: ${files}`,
      `Copyright: ${holder(text)}`,
      `License: ${licence.replaceAll(' ', '-')}${name}`,
      indented(text),
    ].join('\n');
  return `${[
    [
      'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/',
      'Upstream-Name: Sallyport',
    ].join('\n'),
    stanza('*', '', 'Expat', own),
    ...parts.map(({ name, place, licence, text }) =>
      stanza(place, `-${name.replaceAll(/[^a-z0-9.-]+/gi, '-').replace(/^-/, '')}`, licence, text),
    ),
  ].join('\n\n')}\n`;
}
