import { Token } from 'aws-cdk-lib';
import { type ITable, Table } from 'aws-cdk-lib/aws-dynamodb';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { type IKey, Key } from 'aws-cdk-lib/aws-kms';
import { type ITopic, Topic } from 'aws-cdk-lib/aws-sns';
import { Construct, type IConstruct } from 'constructs';
import { grantFollowOf } from './feed-table';
import { subscriptionConditions } from './subscribers';
import { type GrantedTable, grantAppendTo, grantReadOf } from './table-grants';
import {
  type TableLayout,
  type TableLayoutOptions,
  tableSchema,
  validateTableLayout,
} from './table-layout';

/** A store of events, deployed by this app or by another one. */
export interface IEventDB extends IConstruct {
  /** The table that holds the events. */
  readonly table: ITable;

  /** How the table stores events. */
  readonly tableLayout: TableLayout;

  /** The feed, in which the publisher lists what it has published, if there is one. */
  readonly feed: ITable | undefined;

  /** The topic on which every stored event is published. */
  readonly topic: ITopic;

  /** The customer's key that encrypts the table, the feed and the topic, if there is one. */
  readonly encryptionKey: IKey | undefined;

  /** Lets the grantee append and read events. */
  grantAppend(grantee: IGrantable): Grant;

  /** Lets the grantee read events. */
  grantRead(grantee: IGrantable): Grant;

  /** Lets the grantee follow the feed and fetch the events that it lists. */
  grantFollow(grantee: IGrantable): Grant;

  /** Lets the grantee subscribe to the topic. */
  grantSubscribe(grantee: IGrantable): Grant;
}

/**
 * The outputs of a store that another stack deploys, and the layout and indexes that its table was
 * made with. With another layout, the grants would allow too little or too much.
 */
export interface EventDBAttributes extends TableLayoutOptions {
  /** ARN of the table; its name is the output TableName. */
  readonly tableArn: string;

  /** ARN of the topic, the output TopicArn. */
  readonly topicArn: string;

  /**
   * ARN of the feed's table; its name is the output FeedTableName.
   *
   * @default - the store has no feed, or nobody is to follow it
   */
  readonly feedTableArn?: string;

  /**
   * ARN of the key that encrypts the tables, the output EncryptionKeyArn. Without it, the grants
   * don't include the key, and requests of the grantee are refused by KMS.
   *
   * @default - the table is not encrypted with a key of the customer's
   */
  readonly encryptionKeyArn?: string;
}

/** A store that another stack deploys. */
export class ImportedEventDB extends Construct implements IEventDB {
  readonly table: ITable;
  readonly tableLayout: TableLayout;
  readonly feed: ITable | undefined;
  readonly topic: ITopic;
  readonly encryptionKey: IKey | undefined;

  private readonly granted: GrantedTable;

  constructor(scope: Construct, id: string, attributes: EventDBAttributes) {
    super(scope, id);
    validateTableLayout(attributes);
    requireArn('tableArn', attributes.tableArn, 'dynamodb', /^table\/[^/]+$/);
    requireArn('topicArn', attributes.topicArn, 'sns', /^[^:]+$/);
    this.encryptionKey =
      attributes.encryptionKeyArn === undefined
        ? undefined
        : Key.fromKeyArn(this, 'Key', attributes.encryptionKeyArn);
    this.table = Table.fromTableAttributes(this, 'Table', {
      tableArn: attributes.tableArn,
      encryptionKey: this.encryptionKey,
    });
    if (attributes.feedTableArn !== undefined) {
      requireArn('feedTableArn', attributes.feedTableArn, 'dynamodb', /^table\/[^/]+$/);
    }
    this.feed =
      attributes.feedTableArn === undefined
        ? undefined
        : Table.fromTableAttributes(this, 'Feed', {
            tableArn: attributes.feedTableArn,
            encryptionKey: this.encryptionKey,
          });
    const schema = tableSchema(attributes);
    this.tableLayout = schema.layout;
    this.granted = { table: this.table, schema, key: this.encryptionKey };
    this.topic = Topic.fromTopicArn(this, 'Topic', attributes.topicArn);
  }

  grantAppend(grantee: IGrantable): Grant {
    return grantAppendTo(this, this.granted, grantee);
  }

  grantRead(grantee: IGrantable): Grant {
    return grantReadOf(this, this.granted, grantee);
  }

  grantFollow(grantee: IGrantable): Grant {
    return grantFollowOf(
      this,
      {
        feed: this.feed,
        feedKey: this.encryptionKey,
        events: this.table,
        eventsKey: this.encryptionKey,
      },
      grantee,
    );
  }

  grantSubscribe(grantee: IGrantable): Grant {
    return Grant.addToPrincipalOrResource({
      grantee,
      actions: ['sns:Subscribe'],
      resourceArns: [this.topic.topicArn],
      resource: this.topic,
      conditions: subscriptionConditions({}),
    });
  }
}

/** Refuses an ARN of something else, which would only make a policy that allows nothing. */
function requireArn(name: string, arn: unknown, service: string, resource: RegExp): void {
  if (Token.isUnresolved(arn)) {
    return;
  }
  const wrong = new Error(
    `${name} must be the ARN of ${service === 'sns' ? 'an SNS topic' : 'a DynamoDB table'}, and is '${arn}'`,
  );
  const [start, , is, , , ...rest] = String(arn).split(':');
  if (start !== 'arn' || is !== service || !resource.test(rest.join(':'))) {
    throw wrong;
  }
}
