import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CloudFormationClient, GetTemplateCommand } from '@aws-sdk/client-cloudformation';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { mockClient } from 'aws-sdk-client-mock';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compare, RISKS, type Template as StackTemplate } from '../app/deploy/compare';
import { readOptions } from '../app/deploy/options';
import { run } from '../app/deploy/run';
import { EventDBStack } from '../app/event-db-stack';
import { readSettings } from '../app/settings';
import { BUNDLE_DIRECTORY, deployedFlags, testApp } from './support';

/** The stack of the app with these settings. */
function stack(app: App, settings: Record<string, unknown>, environment = 'prod'): EventDBStack {
  return new EventDBStack(app, 'EventDB-prod', {
    settings: readSettings(
      (name) =>
        name === 'env' ? environment : name === 'code' ? BUNDLE_DIRECTORY : settings[name],
      {},
      () => ({}),
    ),
  });
}

function template(settings: Record<string, unknown>, environment = 'prod'): StackTemplate {
  return Template.fromStack(stack(testApp(), settings, environment)).toJSON();
}

/** A template without the random parts, to change one thing in. */
function changed(change: (resources: Record<string, never>) => void): StackTemplate {
  const copy = structuredClone(plain);
  change(copy.Resources as never);
  return copy;
}

const full = template({
  fifo: true,
  encryptionKey: 'new',
  subscriptionAccounts: ['111111111111', '222222222222'],
  alarmTopic: 'arn:aws:sns:eu-west-1:111111111111:Operators',
});
const plain = template({});

/** The logical id of the only resource of the type. */
function idOf(type: string): string {
  const [id] = Object.entries(plain.Resources ?? {})
    .filter(([, resource]) => resource.Type === type)
    .map(([found]) => found);
  if (id === undefined) {
    throw new Error(`no ${type}`);
  }
  return id;
}

function risks(deployed: StackTemplate, next: StackTemplate): string[] {
  return [...new Set(compare(deployed, next).map(({ risk }) => risk))].sort();
}

describe('what an update would replace or weaken', () => {
  test('is nothing when nothing changes, or what is added only strengthens', () => {
    expect(compare(full, structuredClone(full))).toEqual([]);
    expect(compare(plain, template({ encryptionKey: 'new' }))).toEqual([]);
    expect(compare(plain, template({ subscriptionAccounts: ['111111111111'] }))).toEqual([]);
    expect(compare({}, full)).toEqual([]);
  });

  test('is all of it when every setting is forgotten', () => {
    expect(risks(full, plain)).toEqual(['accounts', 'alarms', 'encryption', 'key', 'topic']);
    const whats = compare(full, plain).map(({ what }) => what);
    expect(whats).toContain('111111111111 may subscribe and no longer could');
    expect(whats).toContain('222222222222 may subscribe and no longer could');
    expect(whats).toContain('FifoTopic is true and would be not set: made anew');
  });

  test('names the one account that is left out, and not the other', () => {
    const before = template({ subscriptionAccounts: ['111111111111', '222222222222'] });
    const after = template({ subscriptionAccounts: ['222222222222', '333333333333'] });

    expect(compare(before, after).map(({ risk, what }) => [risk, what])).toEqual([
      ['accounts', '111111111111 may subscribe and no longer could'],
    ]);
  });

  test.each(['prod', 'dev'])('is the table when its layout changes in %s', (environment) => {
    const byTime = template({}, environment);
    const byRevision = template({ tableLayout: 'byRevision' }, environment);

    expect(compare(byTime, template({ tableLayout: 'byTime' }, environment))).toEqual([]);
    for (const [before, after] of [
      [byTime, byRevision],
      [byRevision, byTime],
    ] as const) {
      expect(risks(before, after)).toEqual(['table']);
      expect(compare(before, after).map(({ what }) => what)).toContainEqual(
        expect.stringMatching(/^KeySchema is .* and would be .*: made anew$/),
      );
    }
  });

  test('is the table when an index is left out, and nothing when one is added', () => {
    const all = template({ tableLayout: 'byRevision' });
    const without = template({ tableLayout: 'byRevision', omitIndexes: 'AllEventsById' });

    expect(compare(all, without).map(({ risk, what }) => [risk, what])).toEqual([
      ['table', 'the index AllEventsById would be deleted, and what reads it fails'],
    ]);
    expect(compare(without, all)).toEqual([]);
  });

  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the type of the resource
  test.each<[string, string, (resources: Record<string, any>) => void]>([
    ['table', 'the table goes', (r) => delete r[idOf('AWS::DynamoDB::Table')]],
    [
      'table',
      'the table becomes one of another type',
      (r) => {
        r[idOf('AWS::DynamoDB::Table')].Type = 'AWS::DynamoDB::GlobalTable';
      },
    ],
    [
      'table',
      'the table gets a name',
      (r) => {
        r[idOf('AWS::DynamoDB::Table')].Properties.TableName = 'Events';
      },
    ],
    [
      'table',
      'an index goes',
      (r) => r[idOf('AWS::DynamoDB::Table')].Properties.GlobalSecondaryIndexes.pop(),
    ],
    [
      'table',
      'the stream goes',
      (r) => delete r[idOf('AWS::DynamoDB::Table')].Properties.StreamSpecification,
    ],
    ['bucket', 'the bucket goes', (r) => delete r[idOf('AWS::S3::Bucket')]],
    [
      'protection',
      'the protection from deletion goes',
      (r) => delete r[idOf('AWS::DynamoDB::Table')].Properties.DeletionProtectionEnabled,
    ],
    [
      'protection',
      'point-in-time recovery goes',
      (r) => delete r[idOf('AWS::DynamoDB::Table')].Properties.PointInTimeRecoverySpecification,
    ],
    [
      'protection',
      'the table is no longer kept',
      (r) => {
        r[idOf('AWS::DynamoDB::Table')].DeletionPolicy = 'Delete';
      },
    ],
    [
      'protection',
      'logs are no longer kept',
      (r) => {
        delete r[idOf('AWS::Logs::LogGroup')].DeletionPolicy;
      },
    ],
    ['protection', "the topic's policy goes", (r) => delete r[idOf('AWS::SNS::TopicPolicy')]],
    [
      'protection',
      'the topic takes what comes without TLS',
      (r) => r[idOf('AWS::SNS::TopicPolicy')].Properties.PolicyDocument.Statement.pop(),
    ],
    [
      'alarms',
      'an alarm goes',
      (r) => {
        for (const id of Object.keys(r).filter((found) => found.includes('NothingPublished'))) {
          delete r[id];
        }
      },
    ],
  ])('is %s when %s', (risk, _, change) => {
    expect(risks(plain, changed(change))).toEqual([risk]);
  });

  test('reads principals however they are written', () => {
    const policy = (principal: unknown) => ({
      Resources: {
        Policy: {
          Type: 'AWS::SNS::TopicPolicy',
          Properties: {
            PolicyDocument: {
              Statement: { Effect: 'Allow', Action: ['sns:Subscribe'], Principal: principal },
            },
          },
        },
      },
    });
    const joined = {
      AWS: { 'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':iam::111111111111:root']] },
    };

    expect(compare(policy(joined), policy({ AWS: ['arn:aws:iam::111111111111:root'] }))).toEqual(
      [],
    );
    expect(risks(policy(joined), policy({ AWS: '222222222222' }))).toEqual(['accounts']);
    expect(risks(policy('*'), policy({ AWS: '222222222222' }))).toEqual(['accounts']);
  });

  test('finds another organization, and none in the place of one', () => {
    const policy = (...organizations: string[]) => ({
      Resources: {
        Policy: {
          Type: 'AWS::SNS::TopicPolicy',
          Properties: {
            PolicyDocument: {
              Statement: organizations.map((organization) => ({
                Effect: 'Allow',
                Action: 'sns:Subscribe',
                Principal: { AWS: '*' },
                Condition: { StringEquals: { 'aws:PrincipalOrgID': organization } },
              })),
            },
          },
        },
      },
    });

    expect(compare(policy('o-1234567890'), policy('o-1234567890'))).toEqual([]);
    expect(compare(policy('o-1234567890'), policy('o-0987654321', 'o-1234567890'))).toEqual([]);
    for (const next of [policy('o-0987654321'), policy()]) {
      expect(compare(policy('o-1234567890'), next).map(({ what }) => what)).toContain(
        '"o-1234567890" may subscribe and no longer could',
      );
    }
  });
});

describe('the command line of npm run deploy', () => {
  test('gives synthesis and deployment what each needs', () => {
    expect(
      readOptions(
        '-c env=prod --context=fifo=true --profile library --allow topic,accounts --allow=key --require-approval never'.split(
          ' ',
        ),
      ),
    ).toEqual({
      allowed: new Set(['topic', 'accounts', 'key']),
      synthArguments: ['-c', 'env=prod', '--context', 'fifo=true', '--profile', 'library'],
      deployArguments: ['--profile', 'library', '--require-approval', 'never'],
      profile: 'library',
    });
  });

  test.each([
    [
      ['--allow', 'everything'],
      "--allow takes table, topic, key, bucket, encryption, accounts, protection, alarms (several separated by commas), and not 'everything'",
    ],
    [['--allow'], '--allow needs a value'],
    [['--allow='], '--allow needs a value'],
    [['-c'], '-c needs a value'],
    [['--allow', 'constructor'], "and not 'constructor'"],
  ])('is refused if it is %j', (given, message) => {
    expect(() => readOptions(given)).toThrow(message);
  });

  test('explains every risk', async () => {
    const lines: string[] = [];
    const status = await run(['--help'], { report: (line: string) => lines.push(line) } as never);
    expect(status).toBe(0);
    for (const [risk, what] of Object.entries(RISKS)) {
      expect(lines.join('\n')).toMatch(new RegExp(`${risk} +${what.slice(0, 20)}`));
    }
  });
});

describe('npm run deploy', () => {
  let directory: string;
  const cloudFormation = mockClient(CloudFormationClient);

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'eventdb-deploy-'));
    cloudFormation.reset();
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  /** Runs the command with a cdk that synthesises the stack with these settings. */
  async function deploy(settings: Record<string, unknown>, ...more: string[]) {
    const calls: string[][] = [];
    const lines: string[] = [];
    const asked: (string | undefined)[][] = [];
    const status = await run(['-c', 'env=prod', ...more], {
      directory,
      report: (line) => lines.push(line),
      cloudFormation: (...given) => {
        asked.push(given);
        return new CloudFormationClient({ region: 'eu-west-1' });
      },
      cdk: ([command = '', ...rest]) => {
        calls.push([command, ...rest]);
        if (command === 'synth') {
          const app = new App({
            context: deployedFlags(),
            outdir: directory,
            analyticsReporting: false,
          });
          stack(app, settings);
          app.synth();
        }
        return 0;
      },
    });
    return { status, lines: lines.join('\n'), calls, asked };
  }

  const deployed = (body: StackTemplate) =>
    cloudFormation
      .on(GetTemplateCommand, { StackName: 'EventDB-prod', TemplateStage: 'Original' })
      .resolves({ TemplateBody: JSON.stringify(body) });

  test('deploys what was compared, where nothing is at risk', async () => {
    deployed(plain);
    const { status, calls } = await deploy(
      {},
      '--profile',
      'library',
      '--require-approval',
      'never',
    );

    expect(status).toBe(0);
    expect(calls).toEqual([
      ['synth', '--quiet', '-c', 'env=prod', '--profile', 'library', '--output', directory],
      ['deploy', '--app', directory, '--profile', 'library', '--require-approval', 'never'],
    ]);
  });

  test('deploys a stack that is new', async () => {
    cloudFormation
      .on(GetTemplateCommand)
      .rejects(new Error('Stack with id EventDB-prod does not exist'));
    const { status, calls, lines } = await deploy({});

    expect(status).toBe(0);
    expect(lines).toBe('EventDB-prod: not deployed yet');
    expect(calls.map(([command]) => command)).toEqual(['synth', 'deploy']);
  });

  test('refuses what replaces or weakens, and says which flag permits it', async () => {
    deployed(full);
    const { status, calls, lines } = await deploy({});

    expect(status).toBe(1);
    expect(calls.map(([command]) => command)).toEqual(['synth']);
    expect(lines).toContain('EventDB-prod: REFUSED (topic: the topic goes or is made anew');
    expect(lines).toContain('EventDB-prod: nothing is deployed');
    expect(lines).toMatch(/--allow (\w+,?)+$/m);
  });

  test('refuses as long as one risk is not named', async () => {
    deployed(full);
    const { status, calls, lines } = await deploy({}, '--allow', 'accounts,alarms,encryption,key');

    expect(status).toBe(1);
    expect(calls.map(([command]) => command)).toEqual(['synth']);
    expect(lines).toContain('EventDB-prod: allowed (accounts: ');
    expect(lines).toMatch(/--allow topic$/m);
  });

  test('deploys what a flag names', async () => {
    deployed(full);
    const { status, calls } = await deploy({}, '--allow', 'accounts,alarms,encryption,key,topic');

    expect(status).toBe(0);
    expect(calls.map(([command]) => command)).toEqual(['synth', 'deploy']);
  });

  test('deploys nothing if it may not or can not look', async () => {
    cloudFormation.on(GetTemplateCommand).rejects(new Error('Region is missing'));
    const { status, calls, lines } = await deploy({});

    expect(status).toBe(1);
    expect(calls.map(([command]) => command)).toEqual(['synth']);
    expect(lines).toContain(
      "can't be compared with what is deployed, so nothing is deployed: Region is missing.",
    );
  });

  test('ends with status 2 when it is called wrongly', async () => {
    const { status, calls, lines } = await deploy({}, '--allow', 'all');

    expect(status).toBe(2);
    expect(calls).toEqual([]);
    expect(lines).toContain("and not 'all'");
  });
});
