// @ts-check
import { isDeepStrictEqual } from 'node:util';
import { SQSClient } from '@aws-sdk/client-sqs';
import deployed from '../deployed.json' with { type: 'json' };
import { value } from '../deployment.mjs';
import { candidate, Inbox } from '../events.mjs';
import { demand } from '../run-checks.mjs';

/** @type {import('../run-checks.mjs').Check} */
export const subscription = {
  name: 'subscription',
  proves:
    'A subscriber that CloudFormation deploys gets each event as it is stored, and by a filter those that it asks for and nothing else.',
  runsOnEmulator: true,
  notOnEmulator: ['that SNS evaluates the filter as the emulator does'],
  defect: 'a message is dropped',
  run: async (context, isDefective) => {
    const wanted = `${deployed.FILTERED_PREFIX}1`;
    const { stored } = await context.append([
      [candidate(wanted), candidate(wanted, { type: 'book.returned' })],
      [candidate('book:other')],
      [
        candidate('книга:一二三📚', {
          type: 'книга.взята',
          data: { título: 'O Alquimista\u2028\u0000\t"\\/', large: 1e100, list: [[], {}, null] },
          extensions: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
        }),
      ],
      // It passes the filter, and is published after all the others.
      [candidate(`${deployed.FILTERED_PREFIX}2`)],
    ]);
    const arrived = await context.inbox.receive(stored);
    if (isDefective) {
      arrived.delete(stored[0]?.['id']);
    }
    for (const event of stored) {
      const message = arrived.get(event['id']);
      demand(
        message !== undefined,
        `the event ${event['id']} of ${event['subject']} has not arrived`,
      );
      demand(
        isDeepStrictEqual(withoutStore(message), withoutStore(event)),
        `stored is ${JSON.stringify(event)}, but what arrived is ${JSON.stringify(message)}`,
      );
    }

    const expected = stored.filter(
      ({ subject, type }) =>
        subject.startsWith(deployed.FILTERED_PREFIX) && type === deployed.FILTERED_TYPE,
    );
    const filtered = new Inbox(
      context.account.client(SQSClient),
      value(context.stacks.filtered, 'QueueUrl'),
      context.signal,
    );
    await filtered.receive(expected);
    // What the filter should have held back would have come meanwhile.
    await filtered.receiveFor(context.account.isEmulated ? 1 : 10);
    const ids = new Set(expected.map(({ id }) => id));
    const others = filtered.ids().filter((id) => !ids.has(id));
    demand(others.length === 0, `the filter lets ${others.length} other events through`);
    return {
      seen: [
        `${stored.length} events arrived as they are stored`,
        `${ids.size} of them passed the filter on type and subject, and nothing else did`,
      ],
    };
  },
};

/** @param {import('../events.mjs').Json} event */
function withoutStore({ eventstore: _, ...event }) {
  return event;
}
