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
 * The prefix of the keys of the invocation records that Lambda writes
 * (`aws/lambda/<mapping>/<shard>/YYYY/MM/DD/<time>-<random>`):
 * https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
 */
export const FAILURE_KEY_PREFIX = 'aws/lambda/';

/** Properties of a `FailureBucket`. */
export interface FailureBucketProps {
  /** Whether the bucket is retained when the stack is deleted. */
  readonly isProdEnv: boolean;

  /**
   * The key that encrypts the bucket.
   *
   * @default - a key that S3 owns
   */
  readonly encryptionKey?: IKey;

  /** Whether the bucket is emptied when the stack is deleted. In production, it is retained. */
  readonly isEmptiedWithStack: boolean;

  /** How long a record is kept. */
  readonly expiration: Duration;
}

/**
 * The bucket that keeps the records that couldn't be published.
 *
 * It is S3, because SQS and SNS destinations get only the position in the stream, which drops its
 * records after 24 hours: see docs/decisions/0012.
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
      // Without its policy, the retained bucket would accept requests without TLS.
      this.policy?.applyRemovalPolicy(RemovalPolicy.RETAIN);
    }
    acknowledge(
      this,
      'AwsSolutions-S1',
      'Access logs would need a second bucket. Only Lambda writes to this one, and operators read it ' +
        'for a redrive. Where access must be logged, use CloudTrail data events.',
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
   * The permissions that the function's role needs so that Lambda can write a record:
   * https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
   */
  deliveryStatements(): PolicyStatement[] {
    // Recommended by Lambda's documentation: after this bucket was deleted, a bucket with the same
    // name in another account must not receive the records.
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

  /** The permissions to list and read the records. */
  readPermissions(): Permission[] {
    return this.permissionsOn(['s3:GetObject']);
  }

  /** The permissions that a redrive needs to list, read and delete the records. */
  redrivePermissions(): Permission[] {
    return this.permissionsOn(['s3:GetObject', 's3:DeleteObject']);
  }

  private permissionsOn(objectActions: readonly string[]): Permission[] {
    return [
      {
        actions: ['s3:ListBucket'],
        resources: [this.bucketArn],
        conditions: { StringLike: { 's3:prefix': `${FAILURE_KEY_PREFIX}*` } },
      },
      { actions: objectActions, resources: [this.failureObjectsArn] },
      ...(this.encryptionKey === undefined
        ? []
        : [keyPermission(this, this.encryptionKey, ['kms:Decrypt'], ['s3'])]),
    ];
  }

  /** The number of objects. S3 counts them once a day, and reports nothing if there are none. */
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
   * It grants nothing, because the publisher's role has `deliveryStatements`. The CDK's
   * `S3OnFailureDestination` would also let the function read and delete the records.
   */
  bind(_mapping: IEventSourceMapping, _function: IFunction): DlqDestinationConfig {
    return { destination: this.bucketArn };
  }
}
