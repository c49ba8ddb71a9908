/**
 * The subscribers of the test: the deployable subscriber several times, each with another filter,
 * one that gets SNS's own envelope, where a message's attributes can be seen, and a read model.
 */
import { App, CfnOutput } from 'aws-cdk-lib';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { readSubscriberSettings, SubscriberStack } from '../../infra/app/subscriber-stack';
import { EventSubscription } from '../../infra/lib';
import { ReadModelStack } from './read-model';

const app = new App();
const all = readSubscriberSettings((name) => app.node.tryGetContext(name));
const library = 'https://library.example.com';

new SubscriberStack(app, 'All', { settings: all });
new SubscriberStack(app, 'Reader', { settings: all });
new SubscriberStack(app, 'ByType', {
  settings: { ...all, eventTypes: ['book.borrowed', 'книга.взята'] },
});
new SubscriberStack(app, 'BySource', { settings: { ...all, eventSources: [library] } });
new SubscriberStack(app, 'ByPrefix', { settings: { ...all, subjectPrefix: 'book:' } });
new SubscriberStack(app, 'ByAll', {
  settings: {
    ...all,
    eventTypes: ['book.borrowed'],
    eventSources: [library],
    subjectPrefix: 'book:',
  },
});

const enveloped = new SubscriberStack(app, 'Enveloped', { settings: all });
const subscription = new EventSubscription(enveloped, 'Envelopes', {
  topic: Topic.fromTopicArn(enveloped, 'TopicOfEnvelopes', all.topicArn),
  rawMessageDelivery: false,
});
new CfnOutput(enveloped, 'EnvelopeQueueUrl', { value: subscription.queue.queueUrl });

new ReadModelStack(app, 'ReadModel', {
  topicArn: all.topicArn,
  tableName: required('eventTable'),
  tableLayout: required('eventTableLayout'),
  readPolicyArn: required('readPolicyArn'),
  code: required('readModelCode'),
});

app.synth();

function required(name: string): string {
  const value: unknown = app.node.tryGetContext(name);
  if (typeof value !== 'string') {
    throw new Error(`The context value ${name} is missing`);
  }
  return value;
}
