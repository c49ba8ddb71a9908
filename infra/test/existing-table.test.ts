import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { type ITable, Table, TableClass } from 'aws-cdk-lib/aws-dynamodb';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { beforeEach, describe, expect, test } from 'vitest';
import { EventDB, type EventDBProps, OptionalIndex, TableLayout } from '../lib';
import { EventTable } from '../lib/store/event-table';
import { TABLE_CHECK_CODE } from '../lib/store/table-check-code';
import { type TableLayoutOptions, tableSchema } from '../lib/store/table-layout';
import {
  actionsOf,
  only,
  props,
  type Statement,
  statementsOfRole,
  synthesize,
  testStack,
} from './support';

const TABLE_ARN = 'arn:aws:dynamodb:eu-west-1:111111111111:table/Restored';
const STREAM_ARN = `${TABLE_ARN}/stream/2026-01-01T00:00:00.000`;
const KEY_ARN = 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab';

function imported(stack: Stack, own: { stream?: string; key?: boolean } = {}): ITable {
  return Table.fromTableAttributes(stack, 'Restored', {
    tableArn: TABLE_ARN,
    tableStreamArn: own.stream ?? STREAM_ARN,
    ...(own.key ? { encryptionKey: Key.fromKeyArn(stack, 'TableKey', KEY_ARN) } : {}),
  });
}

function restored(own: Partial<EventDBProps> = {}, table: { key?: boolean } = {}) {
  const stack = testStack();
  const eventDB = new EventDB(stack, 'Events', props({ ...own, table: imported(stack, table) }));
  const role = new Role(stack, 'Lending', { assumedBy: new ServicePrincipal('ecs.amazonaws.com') });
  eventDB.grantAppend(role);
  eventDB.grantRead(role);
  return { stack, eventDB, template: Template.fromStack(stack) };
}

describe('an event store on an existing table', () => {
  test('makes no table, and publishes from the stream of that one', () => {
    const { template } = restored();

    // Only the feed.
    only(template, 'AWS::DynamoDB::Table', 'Feed$');
    template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      EventSourceArn: STREAM_ARN,
      StartingPosition: 'TRIM_HORIZON',
    });
    expect(statementsOfRole(template, 'PublisherRole')).toContainEqual(
      expect.objectContaining({
        Action: expect.arrayContaining(['dynamodb:GetRecords']),
        Resource: STREAM_ARN,
      }),
    );
  });

  test('publishes nothing before the table has been checked', () => {
    const { template } = restored();

    const mapping = only(template, 'AWS::Lambda::EventSourceMapping');
    expect(mapping.DependsOn).toContain(only(template, 'Custom::EventTableCheck').id);
  });

  test.each([true, false])('tells the check what is expected, isProdEnv: %s', (isProdEnv) => {
    const { template } = restored({ isProdEnv });

    const { Expected: expected, TableName: name } = only(
      template,
      'Custom::EventTableCheck',
    ).Properties;
    expect(name).toBe('Restored');
    expect(JSON.parse(expected)).toEqual({
      table: tableSchema({}),
      hints: {
        'subject (S), revision (N)': " (set tableLayout to 'byRevision')",
        AllSubjects: expect.stringContaining('eventdb doctor --write'),
        local: expect.stringContaining('copy the events to a new one'),
      },
      advice: [],
      streamArn: STREAM_ARN,
      isProduction: isProdEnv,
    });
    template.hasOutput('*', {
      Value: { 'Fn::GetAtt': [only(template, 'Custom::EventTableCheck').id, 'Advice'] },
    });
    expect(actionsOf(statementsOfRole(template, 'TableCheckRole'))).toEqual([
      'dynamodb:DescribeContinuousBackups',
      'dynamodb:DescribeTable',
      'logs:CreateLogStream',
      'logs:PutLogEvents',
    ]);
  });

  test('tells the check that the table is by revision, and lacks an index', () => {
    const layout: TableLayoutOptions = {
      tableLayout: TableLayout.BY_REVISION,
      omitIndexes: [OptionalIndex.ALL_EVENTS_BY_ID],
    };
    const { template } = restored(layout);

    const { Expected: expected } = only(template, 'Custom::EventTableCheck').Properties;
    expect(JSON.parse(expected)).toMatchObject({
      table: JSON.parse(JSON.stringify(tableSchema(layout))),
      hints: { 'subject (S), time_type (S)': " (set tableLayout to 'byTime')" },
    });
    const policy = only(template, 'AWS::IAM::Policy', 'Lending').Properties.PolicyDocument;
    const resources = policy.Statement.flatMap(({ Resource: resource }: Statement) => resource);
    expect([...new Set(resources)]).toEqual([
      TABLE_ARN,
      `${TABLE_ARN}/index/AllEventsByTime`,
      `${TABLE_ARN}/index/AllSubjects`,
    ]);
  });

  test('grants what its table and its indexes take, with the key of that table', () => {
    const { template } = restored({}, { key: true });

    const [policy] = Object.values(template.findResources('AWS::IAM::Policy'));
    const statements: Statement[] = policy?.['Properties'].PolicyDocument.Statement;
    expect(statements.flatMap(({ Resource: resource }) => resource)).toEqual(
      expect.arrayContaining([TABLE_ARN, `${TABLE_ARN}/index/AllEventsByTime`, KEY_ARN]),
    );
    expect(statementsOfRole(template, 'PublisherRole')).toContainEqual(
      expect.objectContaining({ Sid: 'UseTableKey', Action: 'kms:Decrypt', Resource: KEY_ARN }),
    );
  });

  test('with publish: false needs no stream, and reads none', () => {
    const { template } = restored({ publish: false });

    template.resourceCountIs('AWS::Lambda::EventSourceMapping', 0);
    expect(
      JSON.parse(only(template, 'Custom::EventTableCheck').Properties.Expected),
    ).not.toHaveProperty('streamArn');
  });

  test('works with alarms and a dashboard', () => {
    expect(() => restored({ isProdEnv: true })).not.toThrow();
  });

  test('is refused without a stream, with what to do', () => {
    const stack = testStack();
    const table = Table.fromTableArn(stack, 'Restored', TABLE_ARN);

    expect(() => new EventDB(stack, 'Events', props({ table }))).toThrow(
      'table TestStack/Restored has no stream, so nothing could be published.',
    );
  });

  test.each<Partial<EventDBProps>>([
    { tableName: 'Events' },
    { tableClass: TableClass.STANDARD },
    { maxReadRequestUnits: 1 },
    { maxWriteRequestUnits: 1 },
  ])('refuses %o, which would have no effect', (own) => {
    expect(() => restored(own)).toThrow('is given together with table, whose settings stay');
  });

  test('has no check where the table is its own', () => {
    synthesize().template.resourceCountIs('Custom::EventTableCheck', 0);
  });
});

describe('the check of an existing table', () => {
  // biome-ignore lint/suspicious/noExplicitAny: what DescribeTable answers
  type Description = any;
  let table: Description;
  /** What the last check has advised. */
  let advice: string[];
  const module: { exports: Description } = { exports: {} };
  new Function('exports', 'require', TABLE_CHECK_CODE)(module.exports, require);

  /** What the check says of the table, with what a production store on it expects. */
  function found(backups = 'ENABLED', isProduction = true, own: TableLayoutOptions = {}): string[] {
    const { template } = restored({ ...own, isProdEnv: isProduction });
    const { Expected } = only(template, 'Custom::EventTableCheck').Properties;
    const expected = JSON.parse(Expected);
    const missing = module.exports.missing({ Table: table, backups, expected });
    ({ advice } = expected);
    return missing;
  }

  /** What DescribeTable answers of a table that the construct has made. */
  function described(own: TableLayoutOptions): Description {
    // What the construct itself makes is right, so it is where the descriptions come from.
    const stack = new Stack(new App(), 'Made');
    new EventTable(stack, 'Table', {
      isProdEnv: true,
      hasStream: true,
      schema: tableSchema(own),
      options: {},
    });
    const made = only(Template.fromStack(stack), 'AWS::DynamoDB::Table', 'Table$').Properties;
    return {
      ...structuredClone(made),
      StreamSpecification: { StreamEnabled: true, ...made.StreamSpecification },
      LatestStreamArn: STREAM_ARN,
      GlobalSecondaryIndexes: made.GlobalSecondaryIndexes.map((index: object) => ({
        ...index,
        IndexStatus: 'ACTIVE',
      })),
    };
  }

  beforeEach(() => {
    table = described({});
  });

  test('fits into a template', () => {
    expect(TABLE_CHECK_CODE.length).toBeLessThanOrEqual(4096);
  });

  test('finds nothing about a table of the construct', () => {
    expect(found()).toEqual([]);
    expect(advice).toEqual([]);
  });

  test('takes a table from before the index of subjects, and advises to add it', () => {
    table.GlobalSecondaryIndexes.splice(2);

    expect(found()).toEqual([]);
    expect(advice).toEqual([
      `the global index AllSubjects is missing, so subjects can't be listed: add it as in docs/operating.md, then run "eventdb doctor --write"`,
    ]);
  });

  test('refuses an index of subjects with other keys', () => {
    table.GlobalSecondaryIndexes[2].KeySchema[1].AttributeName = 'subject';

    expect(found()).toEqual([
      'the global index AllSubjects must have the key subject_partition (S), listed_subject (S), and has subject_partition (S), subject (S)',
    ]);
  });

  test('needs the index of subjects by revision', () => {
    const layout = { tableLayout: TableLayout.BY_REVISION };
    table = described(layout);
    table.GlobalSecondaryIndexes.splice(2);

    expect(found('ENABLED', true, layout)).toEqual(['the global index AllSubjects is missing']);
  });

  test('takes more than is needed', () => {
    table.StreamSpecification.StreamViewType = 'NEW_AND_OLD_IMAGES';
    table.GlobalSecondaryIndexes[1].Projection.ProjectionType = 'ALL';
    table.GlobalSecondaryIndexes.push({ IndexName: 'Another', KeySchema: [] });

    expect(found()).toEqual([]);
  });

  test.each<[string, () => void, string]>([
    [
      'another sort key',
      () => {
        table.KeySchema[1].AttributeName = 'revision';
      },
      'the table must have the key subject (S), time_type (S), and has subject (S), revision (undefined)',
    ],
    [
      'a key of another type',
      () => {
        table.AttributeDefinitions.find(
          ({ AttributeName: name }: { AttributeName: string }) => name === 'time',
        ).AttributeType = 'S';
      },
      'the global index AllEventsByTime must have the key pk_all (S), time (N), and has pk_all (S), time (S)',
    ],
    [
      'no global index',
      () => {
        table.GlobalSecondaryIndexes.splice(1, 1);
      },
      'the global index AllEventsById is missing',
    ],
    [
      'a global index with too little in it',
      () => {
        table.GlobalSecondaryIndexes[0].Projection.ProjectionType = 'KEYS_ONLY';
      },
      'the global index AllEventsByTime must project ALL, and projects KEYS_ONLY',
    ],
    [
      'an index that is still being made',
      () => {
        table.GlobalSecondaryIndexes[0].IndexStatus = 'CREATING';
      },
      'the global index AllEventsByTime is CREATING: wait until it is ACTIVE',
    ],
    [
      'no local index',
      () => {
        delete table.LocalSecondaryIndexes;
      },
      'the local index SubjectEventsByType is missing and can only be made with the table: copy the events to a new one',
    ],
    [
      'no stream',
      () => {
        delete table.StreamSpecification;
      },
      'the stream is off: switch it on with the view NEW_IMAGE',
    ],
    [
      'a stream without images',
      () => {
        table.StreamSpecification.StreamViewType = 'KEYS_ONLY';
      },
      'the stream must have the view NEW_IMAGE, and has KEYS_ONLY',
    ],
    [
      'another stream',
      () => {
        table.LatestStreamArn = `${STREAM_ARN}1`;
      },
      `the stream is ${STREAM_ARN}1, and tableStreamArn is ${STREAM_ARN}`,
    ],
    [
      'no protection',
      () => {
        table.DeletionProtectionEnabled = false;
      },
      'deletion protection is off',
    ],
  ])('names %s', (_, change, sentence) => {
    change();

    expect(found()).toEqual([sentence]);
  });

  test('names everything that is missing together, and protection in production only', () => {
    delete table.LocalSecondaryIndexes;
    delete table.DeletionProtectionEnabled;

    expect(found('DISABLED')).toHaveLength(3);
    expect(found('DISABLED', false)).toHaveLength(1);
  });

  describe('by revision', () => {
    const layout: TableLayoutOptions = { tableLayout: TableLayout.BY_REVISION };
    const without = (...omitIndexes: OptionalIndex[]) => ({ ...layout, omitIndexes });
    const foundWith = (own: TableLayoutOptions) => found('ENABLED', true, own);

    test.each([
      layout,
      without(OptionalIndex.ALL_EVENTS_BY_ID),
      without(OptionalIndex.ALL_EVENTS_BY_ID, OptionalIndex.ALL_EVENTS_BY_TIME),
    ])('finds nothing about a table of the construct with %o', (own) => {
      table = described(own);

      expect(foundWith(own)).toEqual([]);
    });

    test('takes more than is needed', () => {
      table = described(layout);
      table.GlobalSecondaryIndexes[0].Projection.NonKeyAttributes.push('source');
      table.GlobalSecondaryIndexes[1].Projection = {
        ProjectionType: 'INCLUDE',
        NonKeyAttributes: ['type'],
      };

      expect(foundWith(layout)).toEqual([]);
      expect(foundWith(without(...Object.values(OptionalIndex)))).toEqual([]);
    });

    test.each([
      [{ ProjectionType: 'KEYS_ONLY' }, 'KEYS_ONLY'],
      [{ ProjectionType: 'INCLUDE', NonKeyAttributes: ['type'] }, 'INCLUDE type'],
    ])('names an index with too little in it: %o', (projection, shown) => {
      table = described(layout);
      table.GlobalSecondaryIndexes[0].Projection = projection;

      expect(foundWith(layout)).toEqual([
        `the global index AllEventsByTime must project INCLUDE id type, and projects ${shown}`,
      ]);
    });

    test('names a missing index, unless it is left out', () => {
      table = described(without(OptionalIndex.ALL_EVENTS_BY_ID));

      expect(foundWith(layout)).toEqual(['the global index AllEventsById is missing']);
      expect(foundWith(without(OptionalIndex.ALL_EVENTS_BY_ID))).toEqual([]);
    });

    test('names the layout to set where the table has the other one', () => {
      expect(foundWith(layout)[0]).toBe(
        "the table must have the key subject (S), revision (N), and has subject (S), time_type (S) (set tableLayout to 'byTime')",
      );
      table = described(layout);
      expect(found()[0]).toBe(
        "the table must have the key subject (S), time_type (S), and has subject (S), revision (N) (set tableLayout to 'byRevision')",
      );
    });
  });
});

describe('a store of another stack', () => {
  const attributes = {
    tableArn: TABLE_ARN,
    topicArn: 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents',
    encryptionKeyArn: KEY_ARN,
  };

  test('has the grants of a store of this one, and makes nothing', () => {
    const stack = testStack();
    const events = EventDB.fromAttributes(stack, 'Events', attributes);
    const role = new Role(stack, 'Lending', {
      assumedBy: new ServicePrincipal('ecs.amazonaws.com'),
    });
    events.grantAppend(role);
    events.grantRead(role);
    events.grantSubscribe(role);

    const template = Template.fromStack(stack);
    expect(Object.values(template.toJSON()['Resources']).map((made) => Object(made).Type)).toEqual([
      'AWS::IAM::Role',
      'AWS::IAM::Policy',
    ]);
    const statements: Statement[] = only(template, 'AWS::IAM::Policy').Properties.PolicyDocument
      .Statement;
    expect(actionsOf(statements)).toEqual(
      expect.arrayContaining([
        'dynamodb:ConditionCheckItem',
        'dynamodb:PutItem',
        'dynamodb:Query',
        'dynamodb:UpdateItem',
        'kms:Decrypt',
        'kms:GenerateDataKey',
        'sns:Subscribe',
      ]),
    );
    expect([...new Set(statements.flatMap(({ Resource: resource }) => resource))].sort()).toEqual(
      [
        attributes.topicArn,
        KEY_ARN,
        TABLE_ARN,
        `${TABLE_ARN}/index/AllEventsById`,
        `${TABLE_ARN}/index/AllEventsByTime`,
        `${TABLE_ARN}/index/AllSubjects`,
        `${TABLE_ARN}/index/SubjectEventsByType`,
      ].sort(),
    );
  });

  test('has the grants of a table by revision, and no index that is left out', () => {
    const stack = testStack();
    const events = EventDB.fromAttributes(stack, 'Events', {
      ...attributes,
      tableLayout: TableLayout.BY_REVISION,
      omitIndexes: [OptionalIndex.ALL_EVENTS_BY_TIME],
    });
    const role = new Role(stack, 'Lending', {
      assumedBy: new ServicePrincipal('ecs.amazonaws.com'),
    });
    events.grantAppend(role);
    events.grantRead(role);

    expect(events.tableLayout).toBe(TableLayout.BY_REVISION);
    const statements: Statement[] = only(Template.fromStack(stack), 'AWS::IAM::Policy').Properties
      .PolicyDocument.Statement;
    expect(actionsOf(statements).filter((action) => action.startsWith('dynamodb:'))).toEqual([
      'dynamodb:BatchGetItem',
      'dynamodb:ConditionCheckItem',
      'dynamodb:DescribeTable',
      'dynamodb:GetItem',
      'dynamodb:PutItem',
      'dynamodb:Query',
    ]);
    expect([...new Set(statements.flatMap(({ Resource: resource }) => resource))]).toEqual([
      TABLE_ARN,
      KEY_ARN,
      `${TABLE_ARN}/index/AllEventsById`,
      `${TABLE_ARN}/index/AllSubjects`,
    ]);
  });

  test.each([
    [{ tableArn: 'LibraryEvents' }, 'tableArn must be the ARN of a DynamoDB table'],
    [{ tableArn: attributes.topicArn }, 'tableArn must be the ARN of a DynamoDB table'],
    [{ tableArn: STREAM_ARN }, 'tableArn must be the ARN of a DynamoDB table'],
    [{ topicArn: TABLE_ARN }, 'topicArn must be the ARN of an SNS topic'],
    [{ topicArn: `${attributes.topicArn}:a1b2` }, 'topicArn must be the ARN of an SNS topic'],
  ])('refuses %o', (own, message) => {
    expect(() => EventDB.fromAttributes(testStack(), 'Events', { ...attributes, ...own })).toThrow(
      message,
    );
  });
});
