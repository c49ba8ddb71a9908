import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import { Table } from 'aws-cdk-lib/aws-dynamodb';
import { ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import { type IKey, Key } from 'aws-cdk-lib/aws-kms';
import { Code } from 'aws-cdk-lib/aws-lambda';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { EventDB } from '../lib';
import { acknowledge } from '../lib/acknowledge';
import type { Settings } from './settings';

/** Properties of an `EventDBStack`. */
export interface EventDBStackProps extends StackProps {
  /** What is deployed. */
  readonly settings: Settings;
}

/**
 * One event store per environment, with what services need to use it: names as outputs, and
 * managed policies to attach to their roles.
 */
export class EventDBStack extends Stack {
  /** The event store. */
  readonly eventDB: EventDB;

  constructor(scope: Construct, id: string, props: EventDBStackProps) {
    const { settings } = props;
    const isProdEnv = settings.environment === 'prod';
    super(scope, id, {
      description: `Event store ${settings.name}, environment ${settings.environment}`,
      terminationProtection: isProdEnv,
      ...props,
    });

    const encryptionKey = this.encryptionKey(settings, 'Key', settings.encryptionKey);
    this.eventDB = new EventDB(this, 'EventDB', {
      isProdEnv,
      subscriptionAccounts: settings.subscriptionAccounts,
      organizationId: settings.organizationId,
      subscriptionProtocols: settings.subscriptionProtocols,
      tableLayout: settings.tableLayout,
      omitIndexes: settings.omitIndexes,
      table:
        settings.table === undefined
          ? undefined
          : // Whether this key encrypts the table isn't known here. Where it doesn't, it is granted for
            // nothing: through DynamoDB only, which then never uses it.
            Table.fromTableAttributes(this, 'ExistingTable', { ...settings.table, encryptionKey }),
      encryptionKey,
      failureEncryptionKey: this.encryptionKey(
        settings,
        'FailureKey',
        settings.failureEncryptionKey,
      ),
      fifo: settings.fifo,
      topicName: settings.topicName,
      publish: settings.publish,
      feed: settings.feed,
      feedPartitions: settings.feedPartitions,
      verification:
        settings.verificationHours === undefined
          ? undefined
          : Duration.hours(settings.verificationHours),
      emptyFailureBucket: settings.emptyFailureBucket,
      architecture: settings.architecture,
      code: settings.code === undefined ? undefined : Code.fromAsset(settings.code),
      alarmTopic:
        settings.alarmTopicArn === undefined
          ? undefined
          : Topic.fromTopicArn(this, 'AlarmTopic', settings.alarmTopicArn),
    });

    this.output('TableName', this.eventDB.table.tableName, 'Table that holds the events');
    this.output('TableLayout', this.eventDB.tableLayout, 'How services must open the table');
    if (this.eventDB.feed !== undefined) {
      this.output('FeedTableName', this.eventDB.feed.tableName, 'Feed of published events');
    }
    this.output('TopicArn', this.eventDB.topic.topicArn, 'Topic to subscribe to');
    this.output('PublisherName', this.eventDB.publisher.functionName, 'For eventdb redrive');
    this.output('FailureBucketName', this.eventDB.failureBucket.bucketName, 'For eventdb redrive');
    if (encryptionKey !== undefined) {
      this.output('EncryptionKeyArn', encryptionKey.keyArn, 'Key of tables and topic');
    }
    this.policy('Append', 'For services that append events', (policy) => {
      this.eventDB.grantAppend(policy);
    });
    this.policy('Read', 'For services that read events', (policy) => {
      this.eventDB.grantRead(policy);
    });
    if (this.eventDB.feed !== undefined) {
      this.policy('Follow', 'For services that follow the feed', (policy) => {
        this.eventDB.grantFollow(policy);
      });
      this.policy('Verify', 'For operators who verify that events were published', (policy) => {
        this.eventDB.grantVerify(policy);
      });
      this.policy('Republish', 'For operators who republish, adopt and acknowledge', (policy) => {
        this.eventDB.grantRepublish(policy);
      });
    }
    this.policy('Export', 'For operators who export events', (policy) => {
      this.eventDB.grantExport(policy);
    });
    this.policy('Import', 'For operators who import events', (policy) => {
      this.eventDB.grantImport(policy);
    });
    this.policy('Doctor', 'For operators who examine the table', (policy) => {
      this.eventDB.grantExamine(policy);
    });
    this.policy('Repair', 'For operators who examine and repair the table', (policy) => {
      this.eventDB.grantRepair(policy);
    });
    this.policy('Erase', 'For operators who erase the data of events', (policy) => {
      this.eventDB.grantErase(policy);
    });
    this.policy('Tail', 'For operators who follow the topic', (policy) => {
      this.eventDB.grantTail(policy);
      acknowledgeWildcards(policy);
    });
    if (this.eventDB.feed !== undefined) {
      this.policy('Replay', 'For operators who replay events', (policy) => {
        const queues = settings.replayQueues.map((arn, index) =>
          Queue.fromQueueArn(this, `ReplayQueue${index}`, arn),
        );
        this.eventDB.grantReplay(policy, queues);
        acknowledgeWildcards(policy);
      });
    }
    this.policy('Explore', 'For people who look into the store', (policy) => {
      this.eventDB.grantExplore(policy);
      this.eventDB.failureBucket.acknowledgeObjectsWildcard(policy);
    });
    this.policy('Redrive', 'For operators who redrive failed records', (policy) => {
      this.eventDB.grantRedrive(policy);
      this.eventDB.grantInvokePublisher(policy);
      this.eventDB.failureBucket.acknowledgeObjectsWildcard(policy);
    });
  }

  private encryptionKey(settings: Settings, id: string, key: string | undefined): IKey | undefined {
    switch (key) {
      case undefined:
        return undefined;
      case 'new':
        return new Key(this, id, {
          description: `Event store ${settings.name}, environment ${settings.environment}`,
          enableKeyRotation: true,
          // Without the key, what is kept in production could not be read any more.
          removalPolicy:
            settings.environment === 'prod' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
        });
      default:
        return Key.fromKeyArn(this, id, key);
    }
  }

  private policy(name: string, description: string, grant: (policy: ManagedPolicy) => void): void {
    const policy = new ManagedPolicy(this, `${name}Policy`, { description });
    grant(policy);
    this.output(`${name}PolicyArn`, policy.managedPolicyArn, description);
  }

  private output(name: string, value: string, description: string): void {
    // The output's id becomes its name, so it must not be that of a construct.
    new CfnOutput(this, `${name}Output`, { value, description }).overrideLogicalId(name);
  }
}

/** Says to cdk-nag why policies of the tool have wildcards. */
function acknowledgeWildcards(policy: ManagedPolicy): void {
  acknowledge(
    policy,
    'AwsSolutions-IAM5[Resource::*]',
    'IAM can limit sns:Unsubscribe and sns:GetSubscriptionAttributes to no resource.',
  );
  acknowledge(
    policy,
    'AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:eventdb-tail-*]',
    'The tool makes a queue for each run, with a new name that begins like this.',
  );
}
