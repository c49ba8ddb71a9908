/**
 * The function of `TableCheck`, as CloudFormation takes it: inline, at most 4,096 characters, in
 * plain JavaScript; indentation is left out. It answers CloudFormation itself, since `cfn-response` reports no reason.
 */
export const TABLE_CHECK_CODE = `'use strict';
const { request } = require('node:https');

function missing({ Table: table, backups, expected: { table: want, hints, advice, streamArn, isProduction } }) {
  const found = [];
  const types = new Map((table.AttributeDefinitions ?? []).map((a) => [a.AttributeName, a.AttributeType]));
  const shown = (keys) => keys.map(({ name, type }) => name + ' (' + type + ')').join(', ') || 'none';
  const keysOf = ({ KeySchema: keys = [] }) =>
    [...keys].sort((a, b) => (a.KeyType < b.KeyType ? -1 : 1)).map(({ AttributeName: name }) => ({ name, type: types.get(name) }));
  const compareKeys = (what, of, wanted) => {
    const is = shown(keysOf(of));
    if (is !== shown(wanted)) found.push(what + ' must have the key ' + shown(wanted) + ', and has ' + is + (hints[is] ?? ''));
  };
  compareKeys('the table', table, [want.partitionKey, want.sortKey]);
  const compareIndexes = (scope, are, wanted, keys) => {
    for (const index of wanted) {
      const is = (are ?? []).find((one) => one.IndexName === index.name);
      const what = 'the ' + scope + ' index ' + index.name;
      if (is === undefined) {
        (index.mayBeMissing ? advice : found).push(what + ' is missing' + (hints[index.name] ?? hints[scope] ?? ''));
        continue;
      }
      compareKeys(what, is, keys(index));
      const { projectionType: kind, nonKeyAttributes: names = [] } = index;
      const { ProjectionType: has, NonKeyAttributes: also = [] } = is.Projection ?? {};
      if (has !== 'ALL' && (kind === 'ALL' || names.some((name) => !also.includes(name)))) {
        found.push(what + ' must project ' + [kind, ...names].join(' ') + ', and projects ' + [has, ...also].join(' '));
      }
      const { IndexStatus: status = 'ACTIVE' } = is;
      if (status !== 'ACTIVE') found.push(what + ' is ' + status + ': wait until it is ACTIVE');
    }
  };
  compareIndexes('global', table.GlobalSecondaryIndexes, want.globalSecondaryIndexes, (i) => [i.partitionKey, i.sortKey].filter(Boolean));
  compareIndexes('local', table.LocalSecondaryIndexes, want.localSecondaryIndexes, (i) => [want.partitionKey, i.sortKey]);
  if (streamArn) {
    const { StreamEnabled: on, StreamViewType: view } = table.StreamSpecification ?? {};
    if (on !== true) found.push('the stream is off: switch it on with the view ' + want.streamViewType);
    else if (view !== want.streamViewType && view !== 'NEW_AND_OLD_IMAGES') found.push('the stream must have the view ' + want.streamViewType + ', and has ' + view);
    else if (table.LatestStreamArn !== streamArn) found.push('the stream is ' + table.LatestStreamArn + ', and tableStreamArn is ' + streamArn);
  }
  if (isProduction) {
    if (table.DeletionProtectionEnabled !== true) found.push('deletion protection is off');
    if (backups !== 'ENABLED') found.push('point-in-time recovery is off');
  }
  return found;
}

async function check({ TableName, Expected }) {
  const { DynamoDB } = require('@aws-sdk/client-dynamodb');
  const client = new DynamoDB({});
  const { Table } = await client.describeTable({ TableName });
  const { ContinuousBackupsDescription: d } = await client.describeContinuousBackups({ TableName });
  const backups = d?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus;
  const expected = JSON.parse(Expected);
  const found = missing({ Table, backups, expected });
  if (found.length > 0) throw new Error('The table ' + TableName + " can't be used: " + found.join('; '));
  return expected.advice.join('; ');
}

exports.missing = missing;
exports.handler = async (event) => {
  let reason, advice;
  try {
    if (event.RequestType !== 'Delete') advice = await check(event.ResourceProperties);
  } catch (error) {
    reason = error.message;
  }
  const { StackId, RequestId, LogicalResourceId, PhysicalResourceId = LogicalResourceId } = event;
  const body = JSON.stringify({
    StackId, RequestId, LogicalResourceId, PhysicalResourceId, Data: { Advice: advice || 'none' },
    Status: reason ? 'FAILED' : 'SUCCESS', Reason: (reason ?? '').slice(0, 2000),
  });
  await new Promise((resolve, reject) => {
    const headers = { 'content-type': '', 'content-length': Buffer.byteLength(body) };
    request(event.ResponseURL, { method: 'PUT', headers }, (r) => { r.resume(); r.on('end', resolve); }).on('error', reject).end(body);
  });
};
`.replaceAll(/^\s+/gm, '');
