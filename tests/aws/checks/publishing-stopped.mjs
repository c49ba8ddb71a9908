// @ts-check
import {
  CloudFormationClient,
  DescribeStackResourcesCommand,
} from '@aws-sdk/client-cloudformation';
import { CloudWatchClient, DescribeAlarmsCommand } from '@aws-sdk/client-cloudwatch';
import {
  LambdaClient,
  ListEventSourceMappingsCommand,
  UpdateEventSourceMappingCommand,
} from '@aws-sdk/client-lambda';
import { value } from '../deployment.mjs';
import { candidate, eventually } from '../events.mjs';
import { demand } from '../run-checks.mjs';

/** docs/operating.md says 15 to 25 minutes. */
const ALARM_SECONDS = 2_100;
const MAPPING_SECONDS = 180;
const SUBJECT = 'book:publishing-stopped';

/** @type {import('../run-checks.mjs').Check} */
export const publishingStopped = {
  name: 'publishing-stopped',
  proves:
    'While the mapping is disabled nothing is published, the alarm NothingPublished goes off, and what was appended is published once the mapping is enabled.',
  runsOnEmulator: true,
  notOnEmulator: ['that the alarm goes off, and is over: the emulator has no such alarms'],
  defect: 'the mapping stays enabled',
  run: async (context, isDefective) => {
    const { account } = context;
    const lambda = account.client(LambdaClient);
    const { EventSourceMappings: [mapping] = [] } = await lambda.send(
      new ListEventSourceMappingsCommand({
        FunctionName: value(context.stacks.store, 'PublisherName'),
      }),
    );
    const UUID = mapping?.UUID;
    demand(UUID !== undefined, 'the publisher has no event source mapping');
    const seen = [];
    if (!account.isEmulated) {
      await alarmIs(context, 'OK');
    }

    if (!isDefective) {
      await switchMapping(context, UUID, false);
    }
    const stopped = Date.now();
    let stored;
    try {
      ({ stored } = await context.append([[candidate(SUBJECT)], [candidate(SUBJECT)]]));
      await context.inbox.receiveFor(account.isEmulated ? 3 : 30);
      const arrived = new Set(context.inbox.ids());
      demand(
        stored.every(({ id }) => !arrived.has(id)),
        'an event was published though the mapping is disabled',
      );
      if (!account.isEmulated) {
        await alarmIs(context, 'ALARM');
        seen.push(
          `NothingPublished went off ${minutesSince(stopped)} after the mapping was disabled`,
        );
      }
    } finally {
      await switchMapping(context, UUID, true);
    }

    const enabled = Date.now();
    await context.inbox.receive(stored);
    seen.push(`${stored.length} events that were appended meanwhile arrived`);
    if (!account.isEmulated) {
      await alarmIs(context, 'OK');
      seen.push(`NothingPublished was over ${minutesSince(enabled)} after the mapping was enabled`);
    }
    return { seen };
  },
};

/**
 * @param {import('../run-checks.mjs').Context} context
 * @param {string} UUID
 * @param {boolean} Enabled
 */
async function switchMapping({ account, signal }, UUID, Enabled) {
  const lambda = account.client(LambdaClient);
  await lambda.send(new UpdateEventSourceMappingCommand({ UUID, Enabled }));
  const wanted = Enabled ? 'Enabled' : 'Disabled';
  await eventually(`the mapping is ${wanted}`, MAPPING_SECONDS, signal, async () => {
    const { EventSourceMappings: mappings = [] } = await lambda.send(
      new ListEventSourceMappingsCommand({}),
    );
    return mappings.find((each) => each.UUID === UUID)?.State === wanted ? true : undefined;
  });
}

/**
 * Waits until the alarm has this state.
 *
 * @param {import('../run-checks.mjs').Context} context
 * @param {string} state
 */
async function alarmIs({ account, prefix, signal }, state) {
  const { StackResources: resources = [] } = await account
    .client(CloudFormationClient)
    .send(new DescribeStackResourcesCommand({ StackName: `${prefix}-Store` }));
  const name = resources.find(
    ({ ResourceType: type }) => type === 'AWS::CloudWatch::Alarm',
  )?.PhysicalResourceId;
  demand(name !== undefined, 'the stack has no alarm');
  await eventually(`the alarm ${name} is ${state}`, ALARM_SECONDS, signal, async () => {
    const { MetricAlarms: [alarm] = [] } = await account
      .client(CloudWatchClient)
      .send(new DescribeAlarmsCommand({ AlarmNames: [name] }));
    return alarm?.StateValue === state ? true : undefined;
  });
}

/** @param {number} time */
function minutesSince(time) {
  return `${((Date.now() - time) / 60_000).toFixed(1)} minutes`;
}
