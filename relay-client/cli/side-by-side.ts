/** Requests of one command that run at once. */
const AT_ONCE = 16;

/** Does `task` for each input, sixteen at a time; what came of them is told in the inputs' order. The first that fails ends it all. */
export async function* sideBySide<I, O>(
  inputs: AsyncIterable<I>,
  task: (input: I) => Promise<O>,
): AsyncGenerator<O> {
  const running: Promise<O>[] = [];
  for await (const input of inputs) {
    const doing = task(input);
    // It may fail before its turn comes to be told.
    doing.catch(() => undefined);
    running.push(doing);
    if (running.length >= AT_ONCE) yield* take(running);
  }
  while (running.length > 0) yield* take(running);
}

async function* take<O>(running: Promise<O>[]): AsyncGenerator<O> {
  const first = running.shift();
  if (first !== undefined) yield await first;
}
