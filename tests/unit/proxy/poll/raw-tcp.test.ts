import t from 'tap';
import { findRawTcp } from '../../../../proxy/poll/raw-tcp.ts';

type Binding = (name: string) => Record<string, unknown>;
const binding = (process as unknown as { binding: Binding }).binding;

t.test('the handles of this version of Node are those that were tested', async (t) => {
  t.type(findRawTcp(), 'object', 'else polls are slower: see what has changed and test it');
});

t.test('handles that differ in anything are left alone, and the reason is told', async (t) => {
  const changed: [string, unknown, RegExp][] = [
    ['no binding', undefined, /no process.binding/],
    ['a binding that refuses', () => assertNever(), /does not show its handles.*No such module/],
    ['no classes', (name: string) => ({ ...binding(name), WriteWrap: undefined }), /other handle classes/],
    ['no TCP', (name: string) => ({ ...binding(name), TCP: {} }), /other handle classes/],
    [
      'another state',
      (name: string) => ({ ...binding(name), streamBaseState: [] }),
      /state of streams elsewhere/,
    ],
    ['no names', (name: string) => ({ ...binding(name), kReadBytesOrError: undefined }), /otherwise/],
    ['no call', (name: string) => ({ ...binding(name), TCP: class {} }), /have no useUserBuffer/],
  ];
  for (const [name, value, reason] of changed) {
    t.test(name, async (t) => {
      t.intercept(process as unknown as { binding: unknown }, 'binding', { value });
      t.match(findRawTcp(), reason);
    });
  }
});

function assertNever(): never {
  throw new Error('No such module');
}
