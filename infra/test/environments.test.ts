import { describe, expect, test } from 'vitest';
import { EventDBAlarm } from '../lib';
import { only, synthesize } from './support';

describe('production and other environments', () => {
  const production = synthesize({ isProdEnv: true }).template;
  const other = synthesize({ isProdEnv: false }).template;

  test.each([
    ['table', 'AWS::DynamoDB::Table', 'Table$'],
    ['feed', 'AWS::DynamoDB::Table', 'Feed$'],
    ['topic', 'AWS::SNS::Topic', ''],
    ['log group', 'AWS::Logs::LogGroup', ''],
    ['failure bucket', 'AWS::S3::Bucket', ''],
    ["failure bucket's policy", 'AWS::S3::BucketPolicy', ''],
  ])('the %s stays in production and goes elsewhere', (_, type, idPart) => {
    const kept = only(production, type, idPart);
    expect(kept.DeletionPolicy).toBe('Retain');
    expect(kept.UpdateReplacePolicy).toBe('Retain');

    const dropped = only(other, type, idPart);
    // Without a policy CloudFormation deletes.
    expect(dropped.DeletionPolicy ?? 'Delete').toBe('Delete');
    expect(dropped.UpdateReplacePolicy ?? 'Delete').toBe('Delete');
  });

  test('the table is protected from deletion in production only', () => {
    production.hasResourceProperties('AWS::DynamoDB::Table', { DeletionProtectionEnabled: true });
    other.hasResourceProperties('AWS::DynamoDB::Table', { DeletionProtectionEnabled: false });
  });

  test('the table can be restored to a point in time in production only', () => {
    const recovery = (isEnabled: boolean) => ({
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: isEnabled },
    });
    production.hasResourceProperties('AWS::DynamoDB::Table', recovery(true));
    other.hasResourceProperties('AWS::DynamoDB::Table', recovery(false));
  });

  test('logs are kept for six months in production and for a week elsewhere', () => {
    production.hasResourceProperties('AWS::Logs::LogGroup', { RetentionInDays: 180 });
    other.hasResourceProperties('AWS::Logs::LogGroup', { RetentionInDays: 7 });
  });

  test('outside production the failure bucket is emptied, else it could not be deleted', () => {
    production.resourceCountIs('Custom::S3AutoDeleteObjects', 0);
    other.resourceCountIs('Custom::S3AutoDeleteObjects', 1);
  });

  test('outside production the failure bucket can be left as it is', () => {
    const { template } = synthesize({ emptyFailureBucket: false });

    template.resourceCountIs('Custom::S3AutoDeleteObjects', 0);
    template.resourceCountIs('AWS::Lambda::Function', 1);
  });

  test('fails if the failure bucket is to be emptied in production', () => {
    expect(() => synthesize({ isProdEnv: true, emptyFailureBucket: true })).toThrow(
      'emptyFailureBucket is true, but in production the failure bucket is retained',
    );
  });

  test('alarms and dashboard are there in production only', () => {
    // Those of the verification are there only with it.
    production.resourceCountIs('AWS::CloudWatch::Alarm', Object.values(EventDBAlarm).length - 2);
    production.resourceCountIs('AWS::CloudWatch::Dashboard', 1);
    other.resourceCountIs('AWS::CloudWatch::Alarm', 0);
    other.resourceCountIs('AWS::CloudWatch::Dashboard', 0);
  });

  test('nothing else differs', () => {
    // GIVEN what the tests above know of
    const known = new Set([
      'AWS::CloudWatch::Alarm',
      'AWS::CloudWatch::Dashboard',
      'Custom::S3AutoDeleteObjects',
    ]);
    const rest = (template: typeof production) =>
      Object.entries(template.toJSON()['Resources'] as Record<string, { Type: string }>)
        .filter(([id, { Type: type }]) => !known.has(type) && !id.startsWith('CustomS3AutoDelete'))
        .map(([id]) => id)
        .sort();

    // THEN
    expect(rest(production)).toEqual(rest(other));
  });
});
