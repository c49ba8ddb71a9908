/**
 * What `npm run test:aws` deploys: `-c prefix= -c part=stores|subscribers -c emulated=`, for stores
 * `-c code= -c version= -c tableLayout=`, for subscribers `-c topicArn= -c encryptedTopicArn=`.
 */
import { App } from 'aws-cdk-lib';
import { CfnEventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import { EventDBStack } from '../../infra/app/event-db-stack';
import { readSettings } from '../../infra/app/settings';
import { readSubscriberSettings, SubscriberStack } from '../../infra/app/subscriber-stack';
import { createEventDBAlarms, EventDBAlarm } from '../../infra/lib/watching/event-db-alarms';
import { FILTERED_PREFIX, FILTERED_TYPE, RETRY_ATTEMPTS } from './deployed.json';

const app = new App();
const prefix: string = app.node.getContext('prefix');
const isEmulated = app.node.getContext('emulated') === 'true';

if (app.node.getContext('part') === 'stores') {
  store('Store', {});
  store('Encrypted', { encryptionKey: 'new' });
} else {
  const topicArn = app.node.getContext('topicArn');
  subscriber('All', { topicArn });
  subscriber('Filtered', {
    topicArn,
    eventTypes: FILTERED_TYPE,
    subjectPrefix: FILTERED_PREFIX,
  });
  subscriber('EncryptedAll', {
    topicArn: app.node.getContext('encryptedTopicArn'),
    encryption: 'customer',
  });
}
app.synth();

/** A store as it is deployed outside production, so that it goes with its stack. */
function store(name: string, own: Readonly<Record<string, string>>): void {
  const settings = readSettings(
    (key) =>
      ({
        env: 'test',
        // The function that empties the bucket is one of Node.js, whose SDK an emulator lacks.
        emptyFailureBucket: String(!isEmulated),
        code: app.node.tryGetContext('code'),
        tableLayout: app.node.getContext('tableLayout'),
        ...own,
      })[key],
    process.env,
    // Not the settings of this repository's environments.
    () => ({}),
  );
  const { eventDB } = new EventDBStack(app, `${prefix}-${name}`, { settings });
  eventDB.publisher.addEnvironment('PROOF_VERSION', app.node.getContext('version'));
  const mapping = eventDB.eventSourceMapping?.node.defaultChild;
  if (mapping instanceof CfnEventSourceMapping) {
    // Fewer than a real store has, so that nobody waits for an hour.
    mapping.maximumRetryAttempts = RETRY_ATTEMPTS;
  }
  if (!isEmulated) {
    createEventDBAlarms(eventDB, [EventDBAlarm.NOTHING_PUBLISHED], undefined);
  }
}

function subscriber(name: string, own: Readonly<Record<string, string>>): void {
  new SubscriberStack(app, `${prefix}-${name}`, {
    settings: readSubscriberSettings((key) => own[key]),
  });
}
