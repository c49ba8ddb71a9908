/**
 * Finds what an update would irrecoverably remove from a deployed stack: data, subscribers,
 * encryption or protection. It compares the deployed template with the new one.
 */

/** What an update puts at risk; each is the name by which `--allow` permits it. */
export const RISKS = {
  table: 'the table, or one of its indexes or its stream, goes or is made anew',
  topic: 'the topic goes or is made anew, and with it all subscriptions',
  key: 'a key leaves the stack: what it has encrypted can be read only while it exists',
  bucket: 'the failure bucket goes or is made anew',
  encryption: 'what was encrypted with a key no longer is, or with another one',
  accounts: 'an account that may subscribe no longer may, or a limit on subscriptions goes',
  protection: 'protection from deletion, restoration in time, or a policy is weakened',
  alarms: 'an alarm goes, or tells nobody any more',
} as const;

/** What an update puts at risk. */
export type Risk = keyof typeof RISKS;

/** One thing that an update would take away. */
export interface Finding {
  /** What is at risk. */
  readonly risk: Risk;

  /** The logical id of the resource. */
  readonly resource: string;

  /** What would happen to it. */
  readonly what: string;
}

/** The parts of a template that matter here. */
export interface Template {
  readonly Resources?: Readonly<Record<string, Resource>>;
}

interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
}

/** Resources that must not be removed, and the properties whose change replaces them. */
const PRECIOUS: Readonly<Record<string, { readonly risk: Risk; readonly identity: string[] }>> = {
  'AWS::DynamoDB::Table': {
    risk: 'table',
    identity: ['TableName', 'KeySchema', 'LocalSecondaryIndexes'],
  },
  'AWS::SNS::Topic': { risk: 'topic', identity: ['TopicName', 'FifoTopic'] },
  'AWS::S3::Bucket': { risk: 'bucket', identity: ['BucketName'] },
  'AWS::KMS::Key': { risk: 'key', identity: [] },
};

/** The property with the key that encrypts a resource. */
const ENCRYPTION: Readonly<Record<string, string>> = {
  'AWS::DynamoDB::Table': 'SSESpecification',
  'AWS::SNS::Topic': 'KmsMasterKeyId',
  'AWS::S3::Bucket':
    'BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault.KMSMasterKeyID',
};

/** The paths of properties that protect a resource while they are true. */
const PROTECTION: Readonly<Record<string, readonly string[]>> = {
  'AWS::DynamoDB::Table': [
    'DeletionProtectionEnabled',
    'PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled',
  ],
  'AWS::KMS::Key': ['EnableKeyRotation'],
};

/**
 * What an update would replace or weaken.
 *
 * @param deployed the template of the deployed stack
 * @param next the template to come
 */
export function compare(deployed: Template, next: Template): Finding[] {
  const after = next.Resources ?? {};
  return Object.entries(deployed.Resources ?? {}).flatMap(([id, before]) => {
    const now = after[id];
    return now === undefined || now.Type !== before.Type
      ? removed(id, before)
      : changed(id, before, now);
  });
}

function removed(id: string, before: Resource): Finding[] {
  const precious = PRECIOUS[before.Type];
  if (precious !== undefined) {
    const what = isKept(before.DeletionPolicy)
      ? 'would leave the stack, which no longer uses it'
      : 'would be deleted, with everything in it';
    return [{ risk: precious.risk, resource: id, what: `${before.Type} ${what}` }];
  }
  if (before.Type === 'AWS::CloudWatch::Alarm') {
    return [{ risk: 'alarms', resource: id, what: 'the alarm would be deleted' }];
  }
  if (isPolicy(before)) {
    return changedPolicy(id, before, { Type: before.Type });
  }
  return [];
}

function changed(id: string, before: Resource, now: Resource): Finding[] {
  const findings: Finding[] = [];
  const find = (risk: Risk, what: string) => findings.push({ risk, resource: id, what });

  const precious = PRECIOUS[before.Type];
  for (const property of precious?.identity ?? []) {
    const [was, is] = [at(before, property), at(now, property)];
    if (precious !== undefined && !isSame(was, is)) {
      find(precious.risk, `${property} is ${text(was)} and would be ${text(is)}: made anew`);
    }
  }
  if (before.Type === 'AWS::DynamoDB::Table') {
    const view = 'StreamSpecification.StreamViewType';
    if (at(before, view) !== undefined && !isSame(at(before, view), at(now, view))) {
      find('table', `its stream would be made anew; events in it would not be published`);
    }
    const left = indexNames(now);
    for (const index of indexNames(before).filter((name) => !left.includes(name))) {
      find('table', `the index ${index} would be deleted, and what reads it fails`);
    }
  }

  const encryption = ENCRYPTION[before.Type];
  if (encryption !== undefined) {
    const [was, is] = [at(before, encryption), at(now, encryption)];
    if (was !== undefined && !isSame(was, is)) {
      find('encryption', `${encryption} is ${text(was)} and would be ${text(is)}`);
    }
  }
  for (const path of PROTECTION[before.Type] ?? []) {
    if (at(before, path) === true && at(now, path) !== true) {
      find('protection', `${path} is true and would be ${text(at(now, path))}`);
    }
  }
  for (const policy of ['DeletionPolicy', 'UpdateReplacePolicy'] as const) {
    if (isKept(before[policy]) && !isKept(now[policy])) {
      find('protection', `${policy} is ${before[policy]} and would be ${now[policy] ?? 'Delete'}`);
    }
  }
  if (isPolicy(before)) {
    findings.push(...changedPolicy(id, before, now));
  }
  if (before.Type === 'AWS::CloudWatch::Alarm') {
    const told = actions(now);
    if (actions(before).some((action) => !told.includes(action))) {
      find('alarms', 'the alarm would no longer tell a topic that it tells now');
    }
  }
  return findings;
}

/** Accounts that may no longer subscribe, and limits that are removed. */
function changedPolicy(id: string, before: Resource, now: Resource): Finding[] {
  const findings: Finding[] = [];
  const left = subscribers(now);
  for (const account of [...subscribers(before)].filter((who) => !left.has(who))) {
    findings.push({
      risk: 'accounts',
      resource: id,
      what: `${account} may subscribe and no longer could`,
    });
  }
  const limits = statements(now, 'Allow').filter(isSubscribing).map(condition);
  const limitsBefore = statements(before, 'Allow').filter(isSubscribing).map(condition);
  if (limits.includes(undefined) && !limitsBefore.includes(undefined) && limitsBefore.length > 0) {
    findings.push({
      risk: 'accounts',
      resource: id,
      what: 'what may be subscribed is limited by a condition, which would go',
    });
  }
  const denied = statements(now, 'Deny').map(canonical);
  for (const statement of statements(before, 'Deny')) {
    if (!denied.includes(canonical(statement))) {
      findings.push({
        risk: 'protection',
        resource: id,
        what: `what it denies (${text(statement.Action)}) would no longer be denied`,
      });
    }
  }
  return findings;
}

interface Statement {
  readonly Effect?: string;
  readonly Action?: unknown;
  readonly Principal?: unknown;
  readonly Condition?: unknown;
}

function isPolicy({ Type: type }: Resource): boolean {
  return type === 'AWS::SNS::TopicPolicy' || type === 'AWS::S3::BucketPolicy';
}

function statements(resource: Resource, effect: string): Statement[] {
  return many(at(resource, 'PolicyDocument.Statement'))
    .map((statement): Statement => Object(statement))
    .filter(({ Effect: found }) => found === effect);
}

function isSubscribing({ Action: action }: Statement): boolean {
  return many(action).includes('sns:Subscribe');
}

function condition(statement: Statement): string | undefined {
  return statement.Condition === undefined ? undefined : canonical(statement.Condition);
}

/**
 * The organization where a condition names one. Else account ids where a principal has one, however
 * it is written; else the principal itself.
 */
function subscribers(resource: Resource): Set<string> {
  const principals = statements(resource, 'Allow')
    .filter(isSubscribing)
    .flatMap(({ Principal: principal, Condition: condition }) => {
      const organization = Object(Object(condition)['StringEquals'])['aws:PrincipalOrgID'];
      return many(organization ?? Object(principal)['AWS'] ?? principal);
    });
  return new Set(
    principals.map((principal) => {
      const account = /(?<!\d)\d{12}(?!\d)/.exec(canonical(principal));
      return account?.[0] ?? canonical(principal);
    }),
  );
}

function actions(alarm: Resource): string[] {
  return many(at(alarm, 'AlarmActions')).map(canonical);
}

function indexNames(table: Resource): string[] {
  return many(at(table, 'GlobalSecondaryIndexes')).map((index) =>
    String(Object(index)['IndexName']),
  );
}

function isKept(policy: string | undefined): boolean {
  return policy !== undefined && policy !== 'Delete';
}

function at(resource: Resource, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>((value, name) => Object(value)[name], resource.Properties ?? {});
}

function many(value: unknown): unknown[] {
  return value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
}

function isSame(one: unknown, other: unknown): boolean {
  return canonical(one) === canonical(other);
}

/** A text that is the same for the same value, whatever the order of its members. */
function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_, member: unknown) =>
      typeof member === 'object' && member !== null && !Array.isArray(member)
        ? Object.fromEntries(
            Object.entries(member).sort(([one], [other]) => (one < other ? -1 : 1)),
          )
        : member,
    ) ?? 'undefined'
  );
}

function text(value: unknown): string {
  return value === undefined ? 'not set' : canonical(value);
}
