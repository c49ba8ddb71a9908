/**
 * The deployable event store:
 * `cdk deploy -c env=prod -c subscriptionAccounts=111111111111,222222222222`
 *
 * All settings: settings.ts.
 */
import { App } from 'aws-cdk-lib';
import { runOrPrintError } from './command-line';
import { EventDBStack } from './event-db-stack';
import { readSettings } from './settings';

runOrPrintError(() => {
  const app = new App();
  const settings = readSettings((name) => app.node.tryGetContext(name), process.env);
  new EventDBStack(app, `${settings.name}-${settings.environment}`, { settings });
  app.synth();
});
