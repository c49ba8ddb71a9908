/**
 * An event store in production, to see what stays of it. Without the alarms whose expressions the
 * emulator can't deploy; their template is tested in `infra/test`.
 */
import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import { Architecture, Code } from 'aws-cdk-lib/aws-lambda';
import { EventDB, TableLayout } from '../../infra/lib';

const app = new App();
const stack = new Stack(app, 'Production');
const eventDB = new EventDB(stack, 'EventDB', {
  isProdEnv: true,
  tableLayout: Object.values(TableLayout).find(
    (layout) => layout === app.node.tryGetContext('tableLayout'),
  ),
  alarms: [],
  dashboard: false,
  architecture: process.arch === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
  code: Code.fromAsset(app.node.tryGetContext('code')),
});
new CfnOutput(stack, 'TableName', { value: eventDB.table.tableName });
new CfnOutput(stack, 'TopicArn', { value: eventDB.topic.topicArn });
new CfnOutput(stack, 'LogGroupName', { value: eventDB.logGroup.logGroupName });
new CfnOutput(stack, 'FailureBucketName', { value: eventDB.failureBucket.bucketName });
app.synth();
