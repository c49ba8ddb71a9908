import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Metric, type MetricOptions, Stats } from 'aws-cdk-lib/aws-cloudwatch';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type {
  DlqDestinationConfig,
  IEventSourceDlq,
  IEventSourceMapping,
  IFunction,
} from 'aws-cdk-lib/aws-lambda';
import { BlockPublicAccess, Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import type { Construct, IConstruct } from 'constructs';
import { acknowledge } from '../acknowledge';
import { KEY_ACTIONS_FOR_PUBLISHING } from './encryption-key';
import { keyPermission, type Permission, viaServices } from './grants';

/**
 * What Lambda prepends to the keys of the invocation records it keeps
 * (`aws/lambda/<mapping>/<shard>/YYYY/MM/DD/<time>-<random>`):
 * https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
 */
export const FAILURE_KEY_PREFIX = 'aws/lambda/';

/** Properties of a `FailureBucket`. */
export interface FailureBucketProps {
  /** Whether the bucket stays when the stack goes. */
  readonly isProdEnv: boolean;

  /**
   * The key that encrypts the bucket.
   *
   * @default - a key that S3 owns
   */
  readonly encryptionKey?: IKey;

  /** Whether the bucket is emptied when the stack goes; in production it stays as it is. */
  readonly isEmptiedWithStack: boolean;

  /** After how long a kept record is deleted. */
  readonly expiration: Duration;
}

/**
 * The bucket that keeps, whole, the records which could not be published.
 *
 * S3, because an SQS or SNS destination would get the position in the stream only, and the stream
 * forgets after 24 hours: see docs/decisions/0012.
 */
export class FailureBucket extends Bucket implements IEventSourceDlq {
  constructor(scope: Construct, id: string, props: FailureBucketProps) {
    super(scope, id, {
      encryption:
        props.encryptionKey === undefined ? BucketEncryption.S3_MANAGED : BucketEncryption.KMS,
      encryptionKey: props.encryptionKey,
      bucketKeyEnabled: props.encryptionKey !== undefined,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      enforceSSL: true,
      lifecycleRules: [
        { expiration: props.expiration, abortIncompleteMultipartUploadAfter: Duration.days(1) },
      ],
      removalPolicy: props.isProdEnv ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
      // CloudFormation can't delete a bucket that isn't empty.
      autoDeleteObjects: props.isEmptiedWithStack,
    });
    if (props.isProdEnv) {
      // A bucket that stays without its policy would take requests without TLS.
      this.policy?.applyRemovalPolicy(RemovalPolicy.RETAIN);
    }
    acknowledge(
      this,
      'AwsSolutions-S1',
      'Access logs would cost a second bucket for one that only Lambda writes to and that is ' +
        'read when an operator redrives; CloudTrail data events cover it where they are wanted.',
    );
  }

  /** The objects that Lambda writes. */
  get failureObjectsArn(): string {
    return this.arnForObjects(`${FAILURE_KEY_PREFIX}*`);
  }

  /**
   * Tells cdk-nag why a policy names the objects with a wildcard.
   *
   * @param scope what holds the policy
   */
  acknowledgeObjectsWildcard(scope: IConstruct): void {
    const bucket = this.stack.resolve(this.bucketArn)['Fn::GetAtt'][0];
    acknowledge(
      scope,
      `AwsSolutions-IAM5[Resource::<${bucket}.Arn>/${FAILURE_KEY_PREFIX}*]`,
      `Lambda chooses the names of the objects at run time; all are below ${FAILURE_KEY_PREFIX}.`,
    );
  }

  /**
   * What Lambda, in the function's name, needs to keep a record:
   * https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
   */
  deliveryStatements(): PolicyStatement[] {
    // Lambda's documentation recommends the condition: a bucket of that name in another account
    // must not get the records after this one was deleted.
    const conditions = { StringEquals: { 's3:ResourceAccount': Stack.of(this).account } };
    return [
      new PolicyStatement({
        actions: ['s3:PutObject'],
        resources: [this.failureObjectsArn],
        conditions,
      }),
      new PolicyStatement({ actions: ['s3:ListBucket'], resources: [this.bucketArn], conditions }),
      ...(this.encryptionKey === undefined
        ? []
        : [
            new PolicyStatement({
              sid: 'UseFailureKey',
              actions: [...KEY_ACTIONS_FOR_PUBLISHING],
              resources: [this.encryptionKey.keyArn],
              conditions: viaServices(this, ['s3']),
            }),
          ]),
    ];
  }

  /** What listing, reading and deleting the kept records takes. */
  permissionsForTakingOut(): Permission[] {
    return [
      {
        actions: ['s3:ListBucket'],
        resources: [this.bucketArn],
        conditions: { StringLike: { 's3:prefix': `${FAILURE_KEY_PREFIX}*` } },
      },
      { actions: ['s3:GetObject', 's3:DeleteObject'], resources: [this.failureObjectsArn] },
      ...(this.encryptionKey === undefined
        ? []
        : [keyPermission(this, this.encryptionKey, ['kms:Decrypt'], ['s3'])]),
    ];
  }

  /** How many objects there are in it. S3 counts them once a day, and says nothing of none. */
  metricObjects(options: MetricOptions = {}): Metric {
    return new Metric({
      namespace: 'AWS/S3',
      metricName: 'NumberOfObjects',
      dimensionsMap: { BucketName: this.bucketName, StorageType: 'AllStorageTypes' },
      statistic: Stats.MAXIMUM,
      period: Duration.days(1),
      ...options,
    });
  }

  /**
   * Makes the bucket the destination of an event source mapping.
   *
   * Unlike the library's `S3OnFailureDestination` this grants nothing: that one lets the function
   * read and delete the kept records too. The publisher's role has `deliveryStatements`.
   */
  bind(_mapping: IEventSourceMapping, _function: IFunction): DlqDestinationConfig {
    return { destination: this.bucketArn };
  }
}
