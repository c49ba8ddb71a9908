import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
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

  /** `-c architecture=`, else the environment variable `EVENTDB_ARCHITECTURE`, else arm64. */
  readonly architecture: Architecture;

  /** `-c encryptionKey=`: `new` or the ARN of a key. Default none. */
  readonly encryptionKey: string | undefined;

  /** `-c alarmTopic=`: ARN of the topic that is told of alarms. Default none. */
  readonly alarmTopicArn: string | undefined;

  /** `-c fifo=true`: a FIFO topic. */
  readonly fifo: boolean;

  /** `-c topicName=`: the topic's name. Default generated. */
  readonly topicName: string | undefined;

  /** `-c publish=false`: a store whose events go nowhere, for importing history. */
  readonly publish: boolean;

  /** `-c emptyFailureBucket=false`: leaves out the function that empties the failure bucket. */
  readonly emptyFailureBucket: boolean | undefined;

  /** `-c code=`: directory or zip with the built publisher. Default: built from the sources. */
  readonly code: string | undefined;
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
  return {
    environment,
    name: readName(context),
    subscriptionAccounts: list(context, 'subscriptionAccounts'),
    architecture: readArchitecture(context, variables),
    encryptionKey: readEncryptionKey(context),
    alarmTopicArn: arn(context, 'alarmTopic', 'sns'),
    fifo: flag(context, 'fifo') ?? false,
    topicName: text(context, 'topicName'),
    publish: flag(context, 'publish') ?? true,
    emptyFailureBucket: flag(context, 'emptyFailureBucket'),
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

function readEncryptionKey(context: Context): string | undefined {
  if (text(context, 'encryptionKey') === 'new') {
    return 'new';
  }
  const key = arn(context, 'encryptionKey', 'kms', "'new' or ");
  if (key?.includes(':alias/') === true) {
    throw new Error(
      `The context value encryptionKey is '${key}', an alias, which policies can't name; give the ARN ` +
        'of the key behind it: aws kms describe-key --key-id <alias> tells it',
    );
  }
  return key;
}

function readCode(context: Context): string | undefined {
  const path = text(context, 'code');
  if (path === undefined) {
    return undefined;
  }
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory();
  // Without it the deployment succeeds and every invocation fails.
  if (isDirectory === undefined || (isDirectory && !existsSync(join(path, 'bootstrap')))) {
    throw new Error(
      `The context value code is '${path}', where there is ${isDirectory ? 'no bootstrap' : 'nothing'}; ` +
        'give a directory or zip file with bootstrap at its top',
    );
  }
  return path;
}

/** A text; an empty one (`-c name=`) counts as missing, which is what it nearly always means. */
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
      // A comma at the end is no further member.
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
  if (
    value !== undefined &&
    !new RegExp(`^arn:[a-z-]+:${service}:[a-z0-9-]+:\\d{12}:.+$`).test(value)
  ) {
    throw new Error(
      `The context value ${name} is '${value}'; give ${alternative}an ARN: ` +
        `arn:aws:${service}:<region>:<account>:...`,
    );
  }
  return value;
}

function flag(context: Context, name: string): boolean | undefined {
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
