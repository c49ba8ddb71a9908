import { describe, expect, test } from 'vitest';
import { differences, pinnedLogicalIds, presentLogicalIds, RENEW_COMMAND } from './logical-ids';

describe('the logical ids', () => {
  test('are the pinned ones', () => {
    const found = differences(pinnedLogicalIds(), presentLogicalIds());

    expect(
      found,
      'Logical ids differ from infra/test/logical-ids.json. A resource whose logical id changes is ' +
        'created anew by the next update of a deployed stack, and the old one, with its data, is ' +
        'deleted or abandoned. If that is meant (or a resource is only new), renew the file with ' +
        `\`${RENEW_COMMAND}\` and say in CHANGELOG.md what an update does:\n${found.join('\n')}\n`,
    ).toEqual([]);
  });

  test.each([
    [
      { Table: 'AWS::DynamoDB::Table' },
      {},
      'Table (AWS::DynamoDB::Table) is gone: an update DELETES it',
    ],
    [{}, { Table: 'AWS::DynamoDB::Table' }, 'Table (AWS::DynamoDB::Table) is new'],
    [
      { Table: 'AWS::DynamoDB::Table' },
      { Table: 'AWS::DynamoDB::GlobalTable' },
      'Table was AWS::DynamoDB::Table and is AWS::DynamoDB::GlobalTable',
    ],
  ])('from %j to %j are a difference', (before, now, sentence) => {
    expect(differences({ One: before }, { One: now })).toEqual([expect.stringContaining(sentence)]);
    expect(differences({ One: before }, { One: before })).toEqual([]);
  });

  test('of a variant that nobody has pinned, or that is gone, are a difference', () => {
    expect(differences({}, { One: {} })).toEqual(['One: a new variant, with nothing pinned']);
    expect(differences({ One: {} }, {})).toEqual(['One: the variant is gone']);
  });
});
