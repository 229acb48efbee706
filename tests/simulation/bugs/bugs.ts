/** A bug that the simulation must find: what the product's source would look like with it. */
export interface PlantedBug {
  /** What goes wrong, as docs/simulation.md says it. */
  what: string;
  /** The promise that it breaks, by the name under which the checker must report it. */
  promise: string;
  /** Within how many seeds, from 1 on, it must be found. */
  seeds: number;
  /** Each `find` stands exactly once in its file. */
  changes: { file: string; find: string; put: string }[];
}

export const PLANTED_BUGS: Readonly<Record<string, PlantedBug>> = {
  'acks-before-sync': {
    what: 'the outbox says yes 0.8 s before what it holds is on disk',
    promise: 'P1',
    seeds: 100,
    changes: [
      {
        file: 'relay-client/outbox/model.ts',
        find: '    disk.synced = disk.calls.length;\n    const done = waiting;',
        put: `    const upTo = disk.calls.length;
    clock.after(800, () => void (disk.synced = Math.max(disk.synced, Math.min(upTo, disk.calls.length))));
    const done = waiting;`,
      },
    ],
  },
  'late-lease': {
    what: 'a silent link counts as alive for a minute',
    promise: 'P2',
    seeds: 150,
    changes: [
      {
        file: 'proxy/site.ts',
        find: 'clock.monotonic() + SILENCE_MS - link.silentFor()',
        put: 'clock.monotonic() + 60_000',
      },
    ],
  },
  'poll-consumes': {
    what: 'a poll that is told 202 takes the mark with it',
    promise: 'P3',
    seeds: 20,
    changes: [
      {
        file: 'proxy/marks-reader.ts',
        find: '    if (offer !== 0) Atomics.store(table.words, at + LAST_202, tick);',
        put: `    if (offer !== 0) Atomics.store(table.words, at + LAST_202, tick);
    if (offer !== 0) Atomics.store(table.words, at + FLAGS, KNOWN);`,
      },
    ],
  },
  'clear-ignores-generation': {
    what: 'clearing up to a generation ends newer ones, too',
    promise: 'P4',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/outbox/model-ledger.ts',
        find: `        .filter((entry) => isHeld(entry) && entry.generation <= generation)
        .filter((entry) => kind`,
        put: `        .filter((entry) => isHeld(entry) && generation >= 0)
        .filter((entry) => kind`,
      },
    ],
  },
  'snapshot-merges': {
    what: 'a snapshot adds to what a proxy held, in place of replacing it',
    promise: 'P4',
    seeds: 60,
    changes: [
      {
        file: 'proxy/mailbox.ts',
        find: '    held = next.held;',
        put: '    held = new Map([...before, ...next.held]);',
      },
    ],
  },
  'key-forgotten-at-end': {
    what: 'a key is forgotten as soon as its message has ended',
    promise: 'P5',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/outbox/model-ledger.ts',
        find: 'entry.forgetAt = now.at + (entry.key === null ? 0 : KEY_MEMORY_MS);',
        put: 'entry.forgetAt = now.at;',
      },
    ],
  },
  'ends-twice': {
    what: 'cancelling a message that has ended ends it again',
    promise: 'P6',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/outbox/model-ledger.ts',
        find: `      if (!isHeld(entry)) return view(entry, now);
      const ended = finish(now, entry, state, by, more);`,
        put: '      const ended = finish(now, entry, state, by, more);',
      },
    ],
  },
  'clean-up-completes': {
    what: "a phone's own clean-up completes what was pending",
    promise: 'P7',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/watcher/verdict.ts',
        find: "    ? 'phone-clean-up'",
        put: "    ? 'completed'",
      },
    ],
  },
  'busy-completes': {
    what: 'a session of a busy phone completes',
    promise: 'P7',
    seeds: 100,
    changes: [
      {
        file: 'relay-client/watcher/verdict.ts',
        find: "asked.status === 'busy' && verdict",
        put: "asked.status === 'never' && verdict",
      },
    ],
  },
  'quiet-without-budget': {
    what: 'each session may keep a device quiet for 120 s anew',
    promise: 'P8',
    seeds: 50,
    changes: [
      {
        file: 'relay-client/sessions/quiets.ts',
        find: 'budget.spent = budgetMs - left(budget);',
        put: 'budget.spent = 0;',
      },
    ],
  },
  'dead-by-busy': {
    what: 'sessions that were busy, cut or asked to come again count towards dead',
    promise: 'P9',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/sessions/sessions.ts',
        find: "new Set(['refused', 'phone-clean-up', 'service-error'])",
        put: "new Set(['refused', 'phone-clean-up', 'service-error', 'busy', 'again', 'cut', 'overloaded'])",
      },
    ],
  },
  'expiry-by-wall-clock': {
    what: 'messages expire by the wall clock',
    promise: 'P10',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/outbox/store-time.ts',
        find: 'at: startTime + Math.floor(clock.monotonic() - startedAt),',
        put: 'at: wall() - kept.wallAhead,',
      },
    ],
  },
  'stop-from-1970': {
    what: 'a stop is reckoned from a clock that had never been set',
    promise: 'P10',
    seeds: 100,
    changes: [
      {
        file: 'relay-client/outbox/store-time.ts',
        find: 'kept.storeTime + kept.wallAhead >= EARLIEST_WALL',
        put: 'kept.storeTime + kept.wallAhead > 0',
      },
    ],
  },
  'marks-never-expire': {
    what: 'a proxy offers a message until it is told of its end',
    promise: 'P10',
    seeds: 20,
    changes: [
      {
        file: 'proxy/mailbox.ts',
        find: 'expiry: Math.ceil(now + entry.expiresIn),',
        put: 'expiry: Infinity,',
      },
    ],
  },
  'full-drops-oldest': {
    what: 'a full outbox makes room by ending its oldest message',
    promise: 'P11',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/outbox/model-ledger.ts',
        find: '    checkRoom(device, request.bytes, superseded);\n    const firstPush',
        put: `    while (held.size - superseded.length >= limits.messages) {
      finish(now, [...held].find((old) => !superseded.includes(old))!, 'superseded', 'newer push');
    }
    const firstPush`,
      },
    ],
  },
  'cut-passes-for-whole': {
    what: 'an answer that the service broke off is passed on as if it were whole',
    promise: 'P12',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/services/answer.ts',
        find: '      fail(null, error);\n    },',
        put: `      if (!over && held !== null && head !== null) {
        over = true;
        const headers = head.headers.filter((_, i, all) => !/^content-length$/i.test(all[i - (i % 2)] ?? ''));
        return sink.whole({ ...head, headers }, Buffer.concat(held));
      }
      fail(null, error);
    },`,
      },
    ],
  },
  'request-repeated': {
    what: 'a request that the service broke off is sent once more',
    promise: 'P13',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/services/upstream.ts',
        find: '          const dispatch = (): void => void used.dispatch(options, handler);',
        put: `          const again = { ...handler, onResponseError: () => void used.dispatch(options, handler) };
          const dispatch = (): void => void used.dispatch(options, again);`,
      },
    ],
  },
  'stalled-phone-stalls-all': {
    what: 'while one phone takes no bytes, no other gets any',
    promise: 'P14',
    seeds: 100,
    changes: [
      {
        file: 'shared/mux.ts',
        find: '      const sent = writer.part(',
        put: `      if ([...streams.values()].some((other) => other.id !== stream && other.writableNeedDrain)) return 0;
      const sent = writer.part(`,
      },
    ],
  },
  'replaced-link-counts': {
    what: 'a link that another has replaced goes on changing marks',
    promise: 'P15',
    seeds: 60,
    changes: [
      {
        file: 'proxy/site.ts',
        find: '        if (relay === next.relay || incarnation !== next.incarnation) leave(member);',
        put: '',
      },
      {
        file: 'proxy/site.ts',
        find: "          if (!isOf(from)) return 'changes to what another outbox had sent';",
        put: '',
      },
      {
        file: 'proxy/site.ts',
        find: "          if (!isOf(from)) return 'health before the resync is whole';",
        put: '',
      },
      {
        file: 'proxy/relays/relay-link.ts',
        find: "      former.close(CLOSE.replaced, 'a newer link of this relay took over');",
        put: '',
      },
    ],
  },
  'upstream-not-minded': {
    what: 'polls are told 202 though the service cannot be reached',
    promise: 'P16',
    seeds: 20,
    changes: [
      {
        file: 'proxy/site.ts',
        find: 'upstreamOk: serving.some(({ health }) => health.ready),',
        put: 'upstreamOk: true,',
      },
    ],
  },
  'loud-forgotten': {
    what: 'a quiet lasts until its time is over, whatever becomes of the session',
    promise: 'P2',
    seeds: 20,
    changes: [
      {
        file: 'proxy/site.ts',
        find: '          loud(member, frame.device as DeviceId);',
        put: '',
      },
    ],
  },
  'actions-done-when-sent': {
    what: 'an action counts as accepted once it is sent, whatever the phone replies',
    promise: 'P7',
    seeds: 20,
    changes: [
      {
        file: 'relay-client/courier/delivery.ts',
        find: "        if (action.action === 'Restart') options.restarting(task, true);",
        put: `        task.results.push({ action: action.action, status: 'accepted', at: clock.wall(), items: [] });
        await saveTask(outbox, task, 0);`,
      },
    ],
  },
  'accepted-is-deployed': {
    what: 'a file counts as deployed once the phone has accepted to fetch it',
    promise: 'P7',
    seeds: 60,
    changes: [
      {
        file: 'relay-client/courier/confirmation.ts',
        find: 'return deletes || several ? 0 : fileWait;',
        put: 'return deletes || several ? 0 : Math.min(0, fileWait);',
      },
    ],
  },
  'answers-kept-in-memory': {
    what: 'what a phone has answered is on disk only once its message ends, so that a cut has it asked again',
    promise: 'P7',
    seeds: 60,
    changes: [
      {
        file: 'relay-client/courier/task.ts',
        find: '  const most = Math.max(1,',
        put: `  if (wait === 0) return;
  const most = Math.max(1,`,
      },
    ],
  },
};
