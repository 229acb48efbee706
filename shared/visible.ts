/** Characters by which a text could steer a terminal, or make believe that it is another: C0, DEL, C1, bidi, line ends. */
const STEERING = /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** One line of text that a person can be shown, whoever wrote it: characters that steer a terminal as `\u001b`. */
export function visible(text: string): string {
  return text.replace(STEERING, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same for a text that has lines of its own. In JSON it stands for the same text as before. */
export function visibleLines(text: string): string {
  return text.split('\n').map(visible).join('\n');
}
