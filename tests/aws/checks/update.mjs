// @ts-check
import { GetFunctionConfigurationCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { value } from '../deployment.mjs';
import { candidate } from '../events.mjs';
import { demand } from '../run-checks.mjs';

const APPENDS = 100;

/** @type {import('../run-checks.mjs').Check} */
export const update = {
  name: 'update',
  proves: 'An update of the stack takes effect, and loses nothing that is appended meanwhile.',
  runsOnEmulator: true,
  notOnEmulator: ['how Lambda changes versions under load'],
  defect: 'a message is dropped',
  run: async (context, isDefective) => {
    const burst = Array.from({ length: APPENDS }, (_, index) => [
      candidate(`book:update-${index % 4}`),
    ]);
    const [{ stored }] = await Promise.all([context.append(burst), context.deployment.update()]);
    const { stored: after } = await context.append([[candidate('book:after-update')]]);
    const arrived = await context.inbox.receive([...stored, ...after]);
    if (isDefective) {
      arrived.delete(stored[0]?.['id']);
    }
    const lost = stored.filter(({ id }) => !arrived.has(id));
    demand(lost.length === 0, `${lost.length} of ${stored.length} events were lost`);

    const { Environment: environment } = await context.account.client(LambdaClient).send(
      new GetFunctionConfigurationCommand({
        FunctionName: value(context.stacks.store, 'PublisherName'),
      }),
    );
    const version = environment?.Variables?.['PROOF_VERSION'];
    demand(version === '2', `the function is still of version ${version}`);
    return {
      seen: [
        `${stored.length} events that were appended during the update arrived, and one after it`,
      ],
    };
  },
};
