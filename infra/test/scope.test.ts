import { App, Stack, Stage } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, test } from 'vitest';
import { EventDB } from '../lib';
import { props, testApp, testStack } from './support';

describe('where an EventDB can stand', () => {
  test('directly under an App it makes a stack of its name', () => {
    // GIVEN
    const app = testApp();

    // WHEN
    const eventDB = new EventDB(
      app,
      'LibraryEvents',
      props({ subscriptionAccounts: ['123456789012'] }),
    );

    // THEN
    const assembly = app.synth();
    expect(assembly.stacks.map((stack) => stack.stackName)).toEqual(['LibraryEvents']);
    expect(Stack.of(eventDB).stackName).toBe('LibraryEvents');
    Template.fromStack(Stack.of(eventDB)).resourceCountIs('AWS::SNS::Topic', 1);
  });

  test('the stack under an App is protected from termination in production only', () => {
    const app = testApp();
    const production = new EventDB(app, 'Production', props({ isProdEnv: true }));
    const development = new EventDB(app, 'Development', props());

    expect(Stack.of(production).terminationProtection).toBe(true);
    expect(Stack.of(development).terminationProtection).toBe(false);
  });

  test('directly under a Stage it makes a stack of the stage', () => {
    // GIVEN
    const app = testApp();
    const stage = new Stage(app, 'Beta');

    // WHEN
    new EventDB(stage, 'LibraryEvents', props());

    // THEN
    const stacks = app.synth().getNestedAssembly('assembly-Beta').stacks;
    expect(stacks.map((stack) => stack.stackName)).toEqual(['Beta-LibraryEvents']);
  });

  test('inside a stack it is an ordinary construct among others', () => {
    // GIVEN
    const app = testApp();
    const stack = testStack(app);

    // WHEN
    const books = new EventDB(stack, 'Books', props());
    const loans = new EventDB(stack, 'Loans', props());

    // THEN
    expect(Stack.of(books)).toBe(stack);
    expect(books.node.path).toBe('TestStack/Books');
    expect(Stack.of(loans)).toBe(stack);
    expect(app.synth().stacks).toHaveLength(1);
    Template.fromStack(stack).resourceCountIs('AWS::SNS::Topic', 2);
  });

  test('deep inside a stack it makes no further stack', () => {
    const app = testApp();
    const stack = testStack(app);
    const eventDB = new EventDB(new EventDB(stack, 'Outer', props()), 'Inner', props());

    expect(Stack.of(eventDB)).toBe(stack);
  });

  test('the construct works as in the article it comes from, with a key of another stack', () => {
    // GIVEN
    const app = testApp();
    const myKmsKey = new Key(new Stack(app, 'Keys'), 'Key');

    // WHEN
    const eventDB = new EventDB(app, 'LibraryEvents', {
      ...props(),
      isProdEnv: true,
      subscriptionAccounts: ['123456789012'],
      encryptionKey: myKmsKey,
    });

    // THEN
    const template = Template.fromStack(Stack.of(eventDB));
    for (const type of [
      'AWS::SNS::Topic',
      'AWS::Lambda::Function',
      'AWS::Lambda::EventSourceMapping',
      'AWS::Logs::LogGroup',
      'AWS::S3::Bucket',
    ]) {
      template.resourceCountIs(type, 1);
    }
    // Of the events, and of the feed.
    template.resourceCountIs('AWS::DynamoDB::Table', 2);
  });

  test('it needs no feature flag of the app', () => {
    const app = new App({ analyticsReporting: false });
    new EventDB(app, 'LibraryEvents', props({ isProdEnv: true }));

    expect(app.synth().stacks).toHaveLength(1);
  });
});
