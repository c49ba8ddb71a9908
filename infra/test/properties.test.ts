import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';
import { EventDB, type EventDBProps, EventSubscription, type EventSubscriptionProps } from '../lib';
import { props, testApp, testStack } from './support';

/** As plain JavaScript calls it, where nothing checks the types. */
function eventDB(given: unknown) {
  return new EventDB(testStack(), 'Events', given as EventDBProps);
}

function subscription(given: (stack: ReturnType<typeof testStack>) => unknown) {
  const stack = testStack();
  return new EventSubscription(stack, 'Loans', given(stack) as EventSubscriptionProps);
}

describe('properties from plain JavaScript', () => {
  test.each<[unknown, string]>([
    [
      undefined,
      'EventDB needs properties as its third argument, and got undefined; give at least { isProdEnv: true }',
    ],
    [null, 'EventDB needs properties as its third argument, and got null'],
    [{}, 'isProdEnv is missing; give true or false'],
    [{ isProdEnv: 'false' }, "isProdEnv must be true or false, and is 'false'"],
    [{ isProdEnv: null }, 'isProdEnv must be true or false, and is null'],
    [props({ fifo: 'yes' as never }), "fifo must be true or false, and is 'yes'"],
    [props({ dashboard: 1 as never }), 'dashboard must be true or false, and is 1'],
    [
      props({ alarms: ['Nope'] as never }),
      "alarms has 'Nope', which doesn't exist; give a list of 'NothingPublished', 'IteratorAge'",
    ],
    [
      props({ alarms: 'IteratorAge' as never }),
      "alarms must be a list, and is 'IteratorAge'; give a list of",
    ],
    [props({ alarms: [undefined] as never }), "alarms has undefined, which doesn't exist"],
    [props({ alarms: ['constructor'] as never }), "alarms has 'constructor', which doesn't exist"],
    [
      props({ retryAttempts: '20' as never }),
      "retryAttempts must be an integer from 0 to 10000, and is '20'",
    ],
    [
      props({ subscriptionAccounts: '111111111111' as never }),
      "subscriptionAccounts must be a list, and is '111111111111'",
    ],
    [
      props({ subscriptionAccounts: [111111111111] as never }),
      'subscriptionAccounts: 111111111111 is not an AWS account id, which is a text of exactly 12 digits',
    ],
  ])('EventDB fails with a sentence about %j', (given, message) => {
    expect(() => eventDB(given)).toThrow(message);
  });

  test('a refused EventDB leaves no stack behind', () => {
    const app = testApp();
    expect(() => new EventDB(app, 'Events', {} as EventDBProps)).toThrow('isProdEnv is missing');
    expect(app.node.children).toEqual([]);
  });

  test.each<[string, (stack: ReturnType<typeof testStack>) => unknown, string]>([
    [
      'no properties',
      () => undefined,
      'EventSubscription needs properties as its third argument, and got undefined',
    ],
    ['no topic', () => ({}), 'topic must be a topic, and is undefined; give eventDB.topic'],
    [
      'an ARN',
      () => ({ topic: 'arn:aws:sns:eu-west-1:111111111111:Events' }),
      "topic must be a topic, and is 'arn:aws:sns:eu-west-1:111111111111:Events'",
    ],
    [
      'an unknown alarm',
      (stack) => ({ topic: new Topic(stack, 'T'), alarms: ['Nope'] }),
      "alarms has 'Nope', which doesn't exist; give a list of 'DeadLetters', 'MessageAge'",
    ],
    [
      'an alarm twice',
      (stack) => ({ topic: new Topic(stack, 'T'), alarms: ['DeadLetters', 'DeadLetters'] }),
      "alarms: 'DeadLetters' is there more than once",
    ],
    [
      'a text for a truth',
      (stack) => ({ topic: new Topic(stack, 'T'), rawMessageDelivery: 'true' }),
      "rawMessageDelivery must be true or false, and is 'true'",
    ],
    [
      'types that are no list',
      (stack) => ({ topic: new Topic(stack, 'T'), eventTypes: 'book.borrowed' }),
      "eventTypes must be a list of texts, and is 'book.borrowed'",
    ],
    [
      'a prefix that is no text',
      (stack) => ({ topic: new Topic(stack, 'T'), subjectPrefix: 7 }),
      'subjectPrefix must be a text, and is 7',
    ],
  ])('EventSubscription fails with a sentence about %s', (_, given, message) => {
    expect(() => subscription(given)).toThrow(message);
  });
});
