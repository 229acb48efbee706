const IN_TEXT: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' };
const IN_ATTRIBUTE: Readonly<Record<string, string>> = {
  ...IN_TEXT,
  '"': '&quot;',
  '\n': '&#10;',
  '\t': '&#9;',
};

/** Characters that XML 1.0 (§2.2) cannot hold in any spelling, and lone surrogates. */
const IMPOSSIBLE = /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Surrogate}/u;

/** Escapes element content. Quotes stay: old phones understand few references. */
export function escapeText(text: string): string {
  return text.replace(/[&<>\r]/g, (character) => IN_TEXT[character] ?? character);
}

/** Escapes a value that stands in double quotes. */
export function escapeAttribute(text: string): string {
  return text.replace(/[&<>"\r\n\t]/g, (character) => IN_ATTRIBUTE[character] ?? character);
}

/** Whether XML can hold the text. */
export function fitsXml(text: string): boolean {
  return !IMPOSSIBLE.test(text);
}
