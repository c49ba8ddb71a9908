/** An event store on a table that exists: `-c tableName= -c streamArn= -c tableLayout= -c production= -c publish=`. */
import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import { Table } from 'aws-cdk-lib/aws-dynamodb';
import { Architecture, Code } from 'aws-cdk-lib/aws-lambda';
import { EventDB, TableLayout } from '../../infra/lib';

const app = new App();
const context = (name: string): string => app.node.getContext(name);
const stack = new Stack(app, 'ExistingTable');
const eventDB = new EventDB(stack, 'EventDB', {
  isProdEnv: context('production') === 'true',
  publish: context('publish') === 'true',
  alarms: [],
  dashboard: false,
  emptyFailureBucket: false,
  tableLayout: Object.values(TableLayout).find((layout) => layout === context('tableLayout')),
  table: Table.fromTableAttributes(stack, 'Table', {
    tableName: context('tableName'),
    tableStreamArn: context('streamArn'),
  }),
  architecture: process.arch === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
  code: Code.fromAsset(context('code')),
});
new CfnOutput(stack, 'TopicArn', { value: eventDB.topic.topicArn });
new CfnOutput(stack, 'PublisherName', { value: eventDB.publisher.functionName });
app.synth();
