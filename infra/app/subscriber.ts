/**
 * The deployable subscriber's side, for the consuming account:
 * `cdk deploy --app 'node --import tsx infra/app/subscriber.ts' -c topicArn=arn:aws:sns:...`
 *
 * All settings: subscriber-stack.ts.
 */
import { App } from 'aws-cdk-lib';
import { runOrPrintError } from './command-line';
import { readSubscriberSettings, SubscriberStack } from './subscriber-stack';

runOrPrintError(() => {
  const app = new App();
  const settings = readSubscriberSettings((name) => app.node.tryGetContext(name));
  new SubscriberStack(app, settings.name, { settings });
  app.synth();
});
