import { type App, Duration, Stack } from 'aws-cdk-lib';
import { Table, TableClass } from 'aws-cdk-lib/aws-dynamodb';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { Code, LoggingFormat } from 'aws-cdk-lib/aws-lambda';
import { EventDBStack } from '../app/event-db-stack';
import { readSettings } from '../app/settings';
import { readSubscriberSettings, SubscriberStack } from '../app/subscriber-stack';
import { EventDB } from '../lib';
import { BUNDLE_DIRECTORY } from './support';

const TOPIC_ARN = 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents';

/** Makes the stack of a deployable app as the command line would with this context. */
type Variant = (app: App, id: string) => Stack;

function eventDB(context: Record<string, string>): Variant {
  return (app, id) => {
    const given: Record<string, string> = { code: BUNDLE_DIRECTORY, ...context };
    return new EventDBStack(app, id, {
      settings: readSettings(
        (name) => given[name],
        {},
        () => ({}),
      ),
    });
  };
}

function subscriber(context: Record<string, string>): Variant {
  return (app, id) =>
    new SubscriberStack(app, id, { settings: readSubscriberSettings((name) => context[name]) });
}

/** The construct with everything that can be tuned. */
function tuned(app: App, id: string): Stack {
  const stack = new Stack(app, id);
  const vpc = Vpc.fromVpcAttributes(stack, 'Vpc', {
    vpcId: 'vpc-12345678',
    availabilityZones: ['eu-west-1a', 'eu-west-1b'],
    privateSubnetIds: ['subnet-12345678', 'subnet-87654321'],
  });
  new EventDB(stack, 'EventDB', {
    isProdEnv: true,
    code: Code.fromAsset(BUNDLE_DIRECTORY),
    fifo: true,
    topicName: 'LibraryEvents',
    archive: Duration.days(30),
    maxMessageBytes: 1_048_576,
    memorySize: 512,
    timeout: Duration.minutes(2),
    reservedConcurrentExecutions: 10,
    batchSize: 500,
    maxBatchingWindow: Duration.seconds(1),
    vpc,
    logFormat: LoggingFormat.JSON,
    logLevel: 'DEBUG',
    tableClass: TableClass.STANDARD_INFREQUENT_ACCESS,
    maxReadRequestUnits: 1_000,
    maxWriteRequestUnits: 2_000,
    feedPartitions: 16,
  });
  return stack;
}

/** The construct on a table that was restored to a point in time. */
function restored(app: App, id: string): Stack {
  const stack = new Stack(app, id);
  const tableArn = 'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryEvents-restored';
  new EventDB(stack, 'EventDB', {
    isProdEnv: true,
    code: Code.fromAsset(BUNDLE_DIRECTORY),
    table: Table.fromTableAttributes(stack, 'Restored', {
      tableArn,
      tableStreamArn: `${tableArn}/stream/2026-01-01T00:00:00.000`,
    }),
  });
  return stack;
}

/** Every template that is checked by cdk-nag and cfn-lint. */
export const VARIANTS: Readonly<Record<string, Variant>> = {
  Development: eventDB({ env: 'dev' }),
  DevelopmentEncrypted: eventDB({ env: 'dev', encryptionKey: 'new' }),
  Production: eventDB({
    env: 'prod',
    subscriptionAccounts: '111111111111,222222222222',
    alarmTopic: 'arn:aws:sns:eu-west-1:111111111111:Operators',
  }),
  ProductionEncrypted: eventDB({ env: 'prod', encryptionKey: 'new', architecture: 'x86_64' }),
  ProductionImportedKey: eventDB({
    env: 'prod',
    encryptionKey: 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab',
  }),
  ProductionFifo: eventDB({ env: 'prod', fifo: 'true' }),
  ProductionOrganization: eventDB({
    env: 'prod',
    organizationId: 'o-1234567890',
    subscriptionProtocols: 'sqs,lambda,firehose',
    failureEncryptionKey: 'new',
  }),
  ProductionExistingTable: eventDB({
    env: 'prod',
    encryptionKey: 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    table:
      'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryEvents/stream/2026-01-01T00:00:00.000',
  }),
  ProductionByRevision: eventDB({ env: 'prod', tableLayout: 'byRevision', encryptionKey: 'new' }),
  ProductionByRevisionWithoutIndexes: eventDB({
    env: 'prod',
    tableLayout: 'byRevision',
    omitIndexes: 'AllEventsByTime,AllEventsById',
  }),
  ProductionExistingTableByRevision: eventDB({
    env: 'prod',
    tableLayout: 'byRevision',
    table:
      'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryEvents/stream/2026-01-01T00:00:00.000',
  }),
  ProductionWithoutFeed: eventDB({ env: 'prod', feed: 'false', encryptionKey: 'new' }),
  ProductionImporting: eventDB({ env: 'prod', publish: 'false' }),
  ProductionTuned: tuned,
  ProductionRestored: restored,
  Subscriber: subscriber({
    topicArn: TOPIC_ARN,
    eventTypes: 'book.borrowed,book.returned',
    subjectPrefix: 'book:',
  }),
  SubscriberEncrypted: subscriber({ topicArn: TOPIC_ARN, encryption: 'customer' }),
  SubscriberReplayed: subscriber({
    topicArn: TOPIC_ARN,
    encryption: 'customer',
    allowReplay: 'true',
  }),
  SubscriberFifo: subscriber({ topicArn: `${TOPIC_ARN}.fifo` }),
};
