import { describe, expect, test } from 'vitest';
import { EventDBAlarm } from '../lib';
import { only, synthesize } from './support';

const { template } = synthesize({ alarms: [EventDBAlarm.NOTHING_PUBLISHED] });
const alarm = only(template, 'AWS::CloudWatch::Alarm').Properties;

/** What a metric of the mapping or the function reports in a period of five minutes. */
interface Period {
  /** Records that each poll of the stream brought; none at all where nothing polls. */
  readonly polls: readonly number[];

  /** Everything else, which the alarm must not look at. */
  readonly appends?: number;
  readonly invocations?: number;
}

/** The state that CloudWatch gives the alarm after periods like these, for longer than it looks back. */
function stateAfter(periods: readonly Period[]): 'OK' | 'ALARM' {
  const breaching = periods.slice(-alarm.EvaluationPeriods).filter(({ polls }) => {
    // A metric without samples has no data point in the period, and not a zero.
    const value = polls.length === 0 ? undefined : polls.length;
    return value === undefined
      ? alarm.TreatMissingData === 'breaching'
      : alarm.ComparisonOperator === 'LessThanThreshold' && value < alarm.Threshold;
  });
  return breaching.length >= alarm.DatapointsToAlarm ? 'ALARM' : 'OK';
}

const idle: Period = { polls: [0, 0, 0, 0, 0] };
const busy: Period = { polls: [300, 200, 0], appends: 250, invocations: 5 };
const stopped: Period = { polls: [] };

describe('the alarm NothingPublished', () => {
  test('counts the polls of the mapping, a metric that Lambda reports without events too', () => {
    expect(alarm).toMatchObject({
      Namespace: 'AWS/Lambda',
      MetricName: 'PolledEventCount',
      Statistic: 'SampleCount',
      Dimensions: [
        {
          Name: 'EventSourceMappingUUID',
          Value: { Ref: only(template, 'AWS::Lambda::EventSourceMapping').id },
        },
      ],
      ComparisonOperator: 'LessThanThreshold',
      Threshold: 1,
      Period: 300,
    });
    // Without this the mapping doesn't report it.
    template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      MetricsConfig: { Metrics: ['EventCount'] },
    });
  });

  test('watches nothing of AWS/DynamoDB, whose alarms keep their state when data is missing', () => {
    expect(JSON.stringify(alarm)).not.toContain('AWS/DynamoDB');
    // Metric math could fill a gap with a value, and keep the alarm from ever changing its state.
    expect(alarm.Metrics).toBeUndefined();
  });

  test.each<[string, Period[], 'OK' | 'ALARM']>([
    ['no traffic', [idle, idle, idle], 'OK'],
    ['events are appended and published', [busy, busy, busy], 'OK'],
    [
      'only snapshots, heads and guards are written',
      [{ polls: [40], appends: 0 }, idle, idle],
      'OK',
    ],
    ['one event a day, published', [idle, { polls: [1], invocations: 1 }, idle], 'OK'],
    ['every invocation fails (other alarms go off)', [busy, busy, { polls: [9] }], 'OK'],
    [
      'the mapping is disabled, events are appended',
      [{ polls: [], appends: 9 }, stopped, stopped],
      'ALARM',
    ],
    ['the mapping is disabled, nothing is appended', [stopped, stopped, stopped], 'ALARM'],
    ['the mapping was deleted', [stopped, stopped, stopped], 'ALARM'],
    [
      "the table's key can't be used, the stream can't be read",
      [stopped, stopped, stopped],
      'ALARM',
    ],
    [
      'disabled, while somebody redrives',
      [stopped, { polls: [], invocations: 3 }, stopped],
      'ALARM',
    ],
    ['a short interruption', [busy, stopped, stopped], 'OK'],
    ['enabled again, without traffic', [stopped, stopped, idle], 'OK'],
    ['enabled again, with traffic', [stopped, stopped, busy], 'OK'],
    ['data points that come late', [idle, idle, stopped], 'OK'],
  ])('is right when %s', (_, periods, state) => {
    expect(stateAfter(periods)).toBe(state);
  });
});
