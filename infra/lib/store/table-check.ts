import { CfnOutput, CustomResource, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { acknowledge } from '../acknowledge';
import { TABLE_CHECK_CODE } from './table-check-code';
import { TableLayout, type TableSchema, tableSchema } from './table-layout';

/** Properties of a `TableCheck`. */
export interface TableCheckProps {
  /** The table. */
  readonly table: ITable;

  /** What it must be like. */
  readonly schema: TableSchema;

  /** Whether its stream is read. */
  readonly isPublishing: boolean;

  /** Whether it must be protected. */
  readonly isProdEnv: boolean;
}

/**
 * Checks an existing table when the stack is deployed, and fails the deployment with everything
 * that is missing.
 *
 * At deployment and not at synthesis, because an imported table's keys and indexes aren't known
 * before: see docs/decisions/0050.
 */
export class TableCheck extends Construct {
  constructor(scope: Construct, id: string, props: TableCheckProps) {
    super(scope, id);
    const { table } = props;
    const logGroup = new LogGroup(this, 'Logs', {
      retention: RetentionDays.ONE_WEEK,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const check = new LambdaFunction(this, 'Function', {
      description: 'Checks the table of an event store when it is deployed',
      // What CloudFormation runs once per change; the newest runtime needs no dependency of ours.
      runtime: Runtime.NODEJS_22_X,
      handler: 'index.handler',
      code: Code.fromInline(TABLE_CHECK_CODE),
      timeout: Duration.minutes(1),
      logGroup,
      role: new Role(this, 'Role', {
        assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
        inlinePolicies: {
          Check: new PolicyDocument({
            statements: [
              new PolicyStatement({
                actions: ['dynamodb:DescribeContinuousBackups', 'dynamodb:DescribeTable'],
                resources: [table.tableArn],
              }),
              new PolicyStatement({
                actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
                resources: [logGroup.logGroupArn],
              }),
            ],
          }),
        },
      }),
    });
    const resource = new CustomResource(this, 'Resource', {
      serviceToken: check.functionArn,
      resourceType: 'Custom::EventTableCheck',
      serviceTimeout: Duration.minutes(2),
      properties: {
        TableName: table.tableName,
        // CloudFormation turns everything but texts into texts, so these are one text.
        Expected: Stack.of(this).toJsonString({
          table: props.schema,
          hints: hints(props.schema),
          advice: [],
          streamArn: props.isPublishing ? table.tableStreamArn : undefined,
          isProduction: props.isProdEnv,
        }),
      },
    });
    new CfnOutput(this, 'Advice', {
      value: resource.getAttString('Advice'),
      description: 'What the existing table should have and can do without',
    });
    acknowledge(
      check,
      'AwsSolutions-L1',
      'The runtime is one that every region and the emulator have.',
    );
  }
}

/**
 * What to say behind what is missing: by the keys of the other layouts' tables, as the check shows
 * them, by the name of an index, or for all local indexes.
 */
function hints({ layout, globalSecondaryIndexes }: TableSchema): Record<string, string> {
  const ofIndexes = globalSecondaryIndexes
    .filter(({ mayBeMissing }) => mayBeMissing)
    .map(({ name }) => [
      name,
      ', so subjects can\'t be listed: add it as in docs/operating.md, then run "eventdb doctor --write"',
    ]);
  return Object.fromEntries([
    ...Object.values(TableLayout)
      .filter((tableLayout) => tableLayout !== layout)
      .map((tableLayout) => {
        const { partitionKey, sortKey } = tableSchema({ tableLayout });
        const key = `${partitionKey.name} (${partitionKey.type}), ${sortKey.name} (${sortKey.type})`;
        return [key, ` (set tableLayout to '${tableLayout}')`];
      }),
    ...ofIndexes,
    ['local', ' and can only be made with the table: copy the events to a new one'],
  ]);
}
