import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { schema } from '../lib/store/schema';
import { SUBSCRIPTION_PROTOCOLS, type SubscriptionProtocolName } from '../lib/store/subscribers';
import { OptionalIndex, TableLayout } from '../lib/store/table-layout';
import { type EnvironmentFile, readEnvironmentFile } from './environment-file';

/** The environments that can be deployed; only `prod` is production. */
export const ENVIRONMENTS = ['dev', 'test', 'staging', 'prod'] as const;

/** One of the environments. */
export type Environment = (typeof ENVIRONMENTS)[number];

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  arm64: Architecture.ARM_64,
  x86_64: Architecture.X86_64,
};

/** Environment variable that chooses the architecture where the context doesn't. */
export const ARCHITECTURE_VARIABLE = 'EVENTDB_ARCHITECTURE';

/**
 * The settings of an environment: of `environments/<env>.json`, or of `-c <name>=`, which wins.
 *
 * They and their names are described in `environments/schema.json`.
 */
export interface Settings {
  /** `-c env=`, required. */
  readonly environment: Environment;

  /** `-c name=`: the stack is called `<name>-<env>`. Default `EventDB`. */
  readonly name: string;

  /** `-c subscriptionAccounts=`, separated by commas. */
  readonly subscriptionAccounts: readonly string[];

  /** `-c organizationId=`: all accounts of the organization may subscribe. Default none. */
  readonly organizationId: string | undefined;

  /** `-c subscriptionProtocols=`, separated by commas. Default those of the construct. */
  readonly subscriptionProtocols: readonly SubscriptionProtocolName[] | undefined;

  /** `-c tableLayout=`: `byTime` or `byRevision`. Default that of the construct. */
  readonly tableLayout: TableLayout | undefined;

  /** `-c omitIndexes=`, separated by commas. Default none. */
  readonly omitIndexes: readonly OptionalIndex[];

  /** `-c table=`: an existing table. Default a new one. */
  readonly table: ExistingTable | undefined;

  /** `-c architecture=`, else the environment variable `EVENTDB_ARCHITECTURE`, else arm64. */
  readonly architecture: Architecture;

  /** `-c encryptionKey=`: `new` or the ARN of a key. Default none. */
  readonly encryptionKey: string | undefined;

  /** `-c failureEncryptionKey=`: `new` or the ARN of a key. Default none. */
  readonly failureEncryptionKey: string | undefined;

  /** `-c alarmTopic=`: ARN of the topic that is told of alarms. Default none. */
  readonly alarmTopicArn: string | undefined;

  /** `-c fifo=true`: a FIFO topic. */
  readonly fifo: boolean;

  /** `-c topicName=`: the topic's name. Default generated. */
  readonly topicName: string | undefined;

  /** `-c publish=false`: a store that doesn't publish, for importing history. */
  readonly publish: boolean;

  /** `-c feed=false`: a store without a feed. Default that of the construct. */
  readonly feed: boolean | undefined;

  /** `-c feedPartitions=`: number of partitions of a new feed. Default that of the construct. */
  readonly feedPartitions: number | undefined;

  /** `-c verificationHours=`: how often events are verified. Default never. */
  readonly verificationHours: number | undefined;

  /** `-c emptyFailureBucket=false`: leaves out the function that empties the failure bucket. */
  readonly emptyFailureBucket: boolean | undefined;

  /** `-c replayQueues=`, ARNs separated by commas: where operators may replay to. Default none. */
  readonly replayQueues: readonly string[];

  /** `-c code=`: directory or zip with the built publisher. Default: built from the sources. */
  readonly code: string | undefined;
}

/** A table that exists already. */
export interface ExistingTable {
  /** The table's ARN. */
  readonly tableArn: string;

  /** ARN of its stream; only without publishing there may be none. */
  readonly tableStreamArn: string | undefined;
}

/** Looks up a context value, like `app.node.tryGetContext`. */
export type Context = (name: string) => unknown;

/**
 * Reads the settings of the event store's stack.
 *
 * @param override where the values of `-c` and of cdk.json are
 * @param variables the process's environment variables
 * @param fileOf reads the settings of an environment
 * @throws with a sentence for the user of the command line if a value is missing or wrong
 */
export function readSettings(
  override: Context,
  variables: NodeJS.ProcessEnv,
  fileOf: (environment: Environment) => EnvironmentFile = readEnvironmentFile,
): Settings {
  const environment = readEnvironment(override);
  const file = fileOf(environment);
  const context: Context = (name) => {
    const value = override(name);
    return value === undefined || value === null || value === '' ? file[name] : value;
  };
  const publish = flag(context, 'publish') ?? true;
  return {
    environment,
    name: readName(context),
    subscriptionAccounts: list(context, 'subscriptionAccounts'),
    architecture: readArchitecture(context, variables),
    organizationId: text(context, 'organizationId'),
    subscriptionProtocols: readProtocols(context),
    ...readTableLayout(context),
    table: readTable(context, publish),
    encryptionKey: readEncryptionKey(context, 'encryptionKey'),
    failureEncryptionKey: readEncryptionKey(context, 'failureEncryptionKey'),
    alarmTopicArn: arn(context, 'alarmTopic', 'sns'),
    fifo: flag(context, 'fifo') ?? false,
    topicName: text(context, 'topicName'),
    publish,
    ...readFeed(context),
    verificationHours: readVerification(context, flag(context, 'feed')),
    emptyFailureBucket: flag(context, 'emptyFailureBucket'),
    replayQueues: arns(context, 'replayQueues', 'sqs'),
    code: readCode(context),
  };
}

function readEnvironment(context: Context): Environment {
  const value = text(context, 'env');
  const environment = ENVIRONMENTS.find((candidate) => candidate === value);
  if (environment === undefined) {
    const wrong = value === undefined ? 'is missing' : `is '${value}'`;
    throw new Error(
      `The context value env ${wrong}; give one of ${ENVIRONMENTS.join(', ')}: -c env=dev`,
    );
  }
  return environment;
}

function readName(context: Context): string {
  const name = text(context, 'name') ?? 'EventDB';
  if (!/^[A-Za-z][A-Za-z0-9-]{0,99}$/.test(name)) {
    throw new Error(
      `The context value name is '${name}'; it becomes part of the stack's name: ` +
        'a letter, then up to 99 letters, digits and hyphens',
    );
  }
  return name;
}

function readArchitecture(context: Context, variables: NodeJS.ProcessEnv): Architecture {
  const value = text(context, 'architecture') ?? variables[ARCHITECTURE_VARIABLE] ?? 'arm64';
  const architecture = ARCHITECTURES[value];
  if (architecture === undefined) {
    throw new Error(
      `The context value architecture (or ${ARCHITECTURE_VARIABLE}) is '${value}'; ` +
        `give one of ${Object.keys(ARCHITECTURES).join(', ')}`,
    );
  }
  return architecture;
}

function readEncryptionKey(context: Context, name: string): string | undefined {
  if (text(context, name) === 'new') {
    return 'new';
  }
  const key = arn(context, name, 'kms', "'new' or ");
  if (key?.includes(':alias/') === true) {
    throw new Error(
      `The context value ${name} is '${key}', an alias, which policies can't name; give the ARN ` +
        'of the key behind it: aws kms describe-key --key-id <alias> tells it',
    );
  }
  return key;
}

function readProtocols(context: Context): Settings['subscriptionProtocols'] {
  const given = list(context, 'subscriptionProtocols');
  const protocols = SUBSCRIPTION_PROTOCOLS.filter((protocol) => given.includes(protocol));
  const wrong = given.find((name) => !SUBSCRIPTION_PROTOCOLS.some((protocol) => protocol === name));
  if (wrong !== undefined) {
    throw new Error(
      `The context value subscriptionProtocols has '${wrong}'; give some of ${SUBSCRIPTION_PROTOCOLS.join(', ')}`,
    );
  }
  return protocols.length === 0 ? undefined : protocols;
}

function readTableLayout(context: Context): Pick<Settings, 'tableLayout' | 'omitIndexes'> {
  const layout = text(context, 'tableLayout');
  const tableLayout = Object.values(TableLayout).find((one) => one === layout);
  if (layout !== undefined && tableLayout === undefined) {
    throw new Error(
      `The context value tableLayout is '${layout}'; give one of ${Object.values(TableLayout).join(', ')}`,
    );
  }
  const given = list(context, 'omitIndexes');
  const wrong = given.find((name) => !Object.values(OptionalIndex).some((one) => one === name));
  if (wrong !== undefined) {
    throw new Error(
      `The context value omitIndexes has '${wrong}'; give some of ${Object.values(OptionalIndex).join(', ')}`,
    );
  }
  const omitIndexes = Object.values(OptionalIndex).filter((name) => given.includes(name));
  if (omitIndexes.length > 0 && tableLayout !== TableLayout.BY_REVISION) {
    throw new Error(
      `The context value omitIndexes has ${omitIndexes.join(', ')}, but a table by time needs all its ` +
        "indexes; leave it out, or give tableLayout 'byRevision'",
    );
  }
  return { tableLayout, omitIndexes };
}

function readFeed(context: Context): Pick<Settings, 'feed' | 'feedPartitions'> {
  const feed = flag(context, 'feed');
  const given = context('feedPartitions');
  if (given === undefined || given === null || given === '') {
    return { feed, feedPartitions: undefined };
  }
  const feedPartitions = /^[1-9]\d{0,2}$/.test(String(given)) ? Number(given) : Number.NaN;
  if (!(feedPartitions <= schema.feed.mostPartitions)) {
    throw new Error(
      `The context value feedPartitions is ${JSON.stringify(given)}; give a whole number from 1 to ` +
        `${schema.feed.mostPartitions}`,
    );
  }
  if (feed === false) {
    throw new Error(
      `The context value feedPartitions is ${feedPartitions}, but feed is false; leave one of them out`,
    );
  }
  return { feed, feedPartitions };
}

function readVerification(context: Context, feed: boolean | undefined): number | undefined {
  const given = context('verificationHours');
  if (given === undefined || given === null || given === '') {
    return undefined;
  }
  const hours = /^[1-9]\d?$/.test(String(given)) ? Number(given) : Number.NaN;
  if (!(hours <= 24)) {
    throw new Error(
      `The context value verificationHours is ${JSON.stringify(given)}; give a whole number from 1 to 24`,
    );
  }
  if (feed === false) {
    throw new Error(
      `The context value verificationHours is ${hours}, but feed is false; leave one of them out`,
    );
  }
  return hours;
}

function readTable(context: Context, publish: boolean): ExistingTable | undefined {
  const given = text(context, 'table');
  if (given === undefined) {
    return undefined;
  }
  const found =
    /^(?<table>arn:[a-z-]+:dynamodb:[a-z0-9-]+:\d{12}:table\/[\w.-]{3,255})(?<stream>\/stream\/.+)?$/.exec(
      given,
    );
  const tableArn = found?.groups?.['table'];
  const hasStream = found?.groups?.['stream'] !== undefined;
  if (tableArn === undefined || (publish && !hasStream)) {
    const wrong = tableArn === undefined ? '' : ', a table without its stream';
    throw new Error(
      `The context value table is '${given}'${wrong}; give the ARN of the stream of an existing table ` +
        '(arn:aws:dynamodb:<region>:<account>:table/<name>/stream/<label>), which ' +
        'aws dynamodb describe-table --table-name <name> shows as LatestStreamArn; with publish=false ' +
        "the table's own ARN does",
    );
  }
  return { tableArn, tableStreamArn: hasStream ? given : undefined };
}

function readCode(context: Context): string | undefined {
  const path = text(context, 'code');
  if (path === undefined) {
    return undefined;
  }
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory();
  // Without it, the deployment would succeed, but every invocation would fail.
  if (isDirectory === undefined || (isDirectory && !existsSync(join(path, 'bootstrap')))) {
    throw new Error(
      `The context value code is '${path}', where there is ${isDirectory ? 'no bootstrap' : 'nothing'}; ` +
        'give a directory or zip file with bootstrap at its top',
    );
  }
  return path;
}

/** A text. An empty one (`-c name=`) counts as missing. */
export function text(context: Context, name: string): string | undefined {
  const value = context(name);
  if (value === undefined || value === null || value === '') {
    return undefined;
  }
  if (typeof value !== 'string') {
    throw new Error(`The context value ${name} is ${JSON.stringify(value)}; give a text`);
  }
  return value;
}

/** Texts separated by commas, or an array of texts in cdk.json. */
export function list(context: Context, name: string): readonly string[] {
  const value = context(name);
  if (Array.isArray(value)) {
    const wrong = value.find((member) => typeof member !== 'string');
    if (wrong !== undefined) {
      throw new Error(`The context value ${name} has ${JSON.stringify(wrong)}; give texts only`);
    }
    return value;
  }
  return (
    text(context, name)
      ?.split(',')
      .map((member) => member.trim())
      // Ignore a trailing comma.
      .filter((member) => member !== '') ?? []
  );
}

/** An ARN of the service. */
export function arn(
  context: Context,
  name: string,
  service: string,
  alternative = '',
): string | undefined {
  const value = text(context, name);
  if (value !== undefined && !isArn(value, service)) {
    throw new Error(
      `The context value ${name} is '${value}'; give ${alternative}an ARN: ` +
        `arn:aws:${service}:<region>:<account>:...`,
    );
  }
  return value;
}

/** ARNs of the service. */
function arns(context: Context, name: string, service: string): readonly string[] {
  const values = list(context, name);
  const wrong = values.find((value) => !isArn(value, service));
  if (wrong !== undefined) {
    throw new Error(
      `The context value ${name} has '${wrong}'; give ARNs: arn:aws:${service}:<region>:<account>:...`,
    );
  }
  return values;
}

function isArn(value: string, service: string): boolean {
  return new RegExp(`^arn:[a-z-]+:${service}:[a-z0-9-]+:\\d{12}:.+$`).test(value);
}

export function flag(context: Context, name: string): boolean | undefined {
  const value = context(name);
  if (value === undefined || value === '') {
    return undefined;
  }
  if (value === false || value === 'false') {
    return false;
  }
  if (value === true || value === 'true') {
    return true;
  }
  throw new Error(`The context value ${name} is ${JSON.stringify(value)}; give true or false`);
}
