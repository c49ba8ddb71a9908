// @ts-check
import { candidate } from '../events.mjs';
import { demand } from '../run-checks.mjs';

const SUBJECTS = ['book:order-1', 'book:order-2', 'book:order-3'];
const APPENDS = 20;

/** @type {import('../run-checks.mjs').Check} */
export const order = {
  name: 'order',
  proves: '`sequence` restores the order of each subject, and shows that nothing is missing.',
  runsOnEmulator: true,
  notOnEmulator: ['how often SNS and a standard queue really mix up the order'],
  defect: 'two events of a subject have their sequences swapped',
  run: async (context, isDefective) => {
    const { stored } = await context.append(
      Array.from({ length: APPENDS }, () => SUBJECTS.map((subject) => candidate(subject))),
    );
    const events = await context.inbox.receive(stored);
    const arrived = context.inbox.ids().filter((id) => events.has(id));
    if (isDefective) {
      swapSequences([...events.values()].filter(({ subject }) => subject === SUBJECTS[0]));
    }
    for (const subject of SUBJECTS) {
      const wanted = stored.filter((event) => event['subject'] === subject);
      const restored = [...events.values()]
        .filter((event) => event['subject'] === subject)
        .sort((one, other) => (one['sequence'] < other['sequence'] ? -1 : 1));
      demand(
        restored.every((event, index) => Number(event['sequence']) === index + 1),
        `the sequences of ${subject} are ${restored.map(({ sequence }) => sequence).join(', ')}`,
      );
      demand(
        restored.length === wanted.length &&
          restored.every(({ id }, index) => id === wanted[index]?.['id']),
        `${subject}: by sequence the events come in another order than they were appended in`,
      );
    }
    const isMixed = SUBJECTS.some((subject) => {
      const sequences = arrived
        .map((id) => events.get(id))
        .filter((event) => event?.['subject'] === subject)
        .map((event) => Number(event?.['sequence']));
      return sequences.some((sequence, index) => sequence < (sequences[index - 1] ?? 0));
    });
    return {
      seen: [
        `${stored.length} events of ${SUBJECTS.length} subjects, ordered by sequence`,
        `they arrived ${isMixed ? 'in another order, or repeated' : 'in order already'}`,
      ],
    };
  },
};

/** @param {import('../events.mjs').Json[]} events */
function swapSequences([first, second]) {
  if (first !== undefined && second !== undefined) {
    [first['sequence'], second['sequence']] = [second['sequence'], first['sequence']];
  }
}
