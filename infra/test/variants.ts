import type { App, Stack } from 'aws-cdk-lib';
import { EventDBStack } from '../app/event-db-stack';
import { readSettings } from '../app/settings';
import { readSubscriberSettings, SubscriberStack } from '../app/subscriber-stack';
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
  Subscriber: subscriber({
    topicArn: TOPIC_ARN,
    eventTypes: 'book.borrowed,book.returned',
    subjectPrefix: 'book:',
  }),
  SubscriberEncrypted: subscriber({ topicArn: TOPIC_ARN, encryption: 'customer' }),
  SubscriberFifo: subscriber({ topicArn: `${TOPIC_ARN}.fifo` }),
};
