// @ts-check
import { candidate } from '../events.mjs';
import { percentile } from '../report.mjs';
import { demand } from '../run-checks.mjs';

/** @type {import('../run-checks.mjs').Check} */
export const latency = {
  name: 'latency',
  proves: 'How long an append takes, and how long until the event is in a queue (p50, p99).',
  runsOnEmulator: true,
  notOnEmulator: ['the figures themselves'],
  defect: 'the time of an append is lost',
  run: async (context, isDefective) => {
    const count = context.account.isEmulated ? 40 : 400;
    const { stored, milliseconds } = await context.append(
      Array.from({ length: count }, (_, index) => [candidate(`book:latency-${index % 20}`)]),
    );
    const arrived = await context.inbox.receive(stored);
    const times = isDefective ? milliseconds.slice(1) : milliseconds;
    demand(times.length === count, `${count} appends, but ${times.length} times`);
    // The first one also connects.
    const appends = times.slice(1);
    /** @type {Map<string, number>} */
    const published = new Map();
    for (const { event, sent } of context.inbox.messages) {
      if (arrived.has(event['id']) && !published.has(event['id'])) {
        published.set(event['id'], sent - Date.parse(event['time']));
      }
    }
    const lags = [...published.values()];
    demand(
      lags.length === count && lags.every(Number.isFinite),
      `${count} events, but only ${lags.filter(Number.isFinite).length} have a time of arrival`,
    );
    return {
      seen: [
        `append, one event, one after the other, ${appends.length} times: ${figures(appends)}`,
        `from the event's time to its arrival in the queue, ${lags.length} events: ${figures(lags)} (by the clock of this machine and that of SQS)`,
      ],
    };
  },
};

/** @param {number[]} values */
function figures(values) {
  return `p50 ${percentile(values, 0.5).toFixed(0)} ms, p99 ${percentile(values, 0.99).toFixed(0)} ms`;
}
