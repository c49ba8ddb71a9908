import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  type AlarmProps,
  ComparisonOperator,
  type IMetric,
  MathExpression,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';

/** When an alarm goes off. */
export interface AlarmCondition {
  /** What is wrong and what to do, for the person who gets the notification. */
  readonly description: string;

  /** The measured metric. */
  readonly metric: IMetric;

  /** The alarm goes off at this value and above; for a heartbeat, below this value. */
  readonly threshold: number;

  /** The number of most recent periods that are evaluated. */
  readonly evaluationPeriods: number;

  /**
   * How many of them must be at the threshold or above; for a heartbeat, below it or without data.
   */
  readonly datapointsToAlarm: number;

  /**
   * Whether the metric is a heartbeat, which is reported continuously: low values and missing data
   * are faults. Otherwise the metric counts faults, and missing data isn't a fault.
   *
   * @default false
   */
  readonly isHeartbeat?: boolean;
}

/** Creates an alarm that notifies when it goes off and when it is over. */
export function createAlarm(
  scope: Construct,
  id: string,
  condition: AlarmCondition,
  alarmTopic: ITopic | undefined,
): Alarm {
  const props: AlarmProps = {
    alarmDescription: condition.description,
    metric: condition.metric,
    threshold: condition.threshold,
    evaluationPeriods: condition.evaluationPeriods,
    datapointsToAlarm: condition.datapointsToAlarm,
    ...(condition.isHeartbeat === true
      ? {
          comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
          treatMissingData: TreatMissingData.BREACHING,
        }
      : {
          comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
          // Without events there are no data points, and that isn't a fault.
          treatMissingData: TreatMissingData.NOT_BREACHING,
        }),
  };
  const alarm = new Alarm(scope, id, props);
  if (alarmTopic !== undefined) {
    const action = new SnsAction(alarmTopic);
    alarm.addAlarmAction(action);
    alarm.addOkAction(action);
  }
  return alarm;
}

/**
 * The sum of metrics that may have no data. `SUM` over a list ignores missing data, but `+` returns
 * nothing if one operand is missing.
 */
export function sumOf(
  label: string,
  metrics: readonly IMetric[],
  period: Duration,
): MathExpression {
  const byId = Object.fromEntries(
    metrics.map((metric, position) => [`m${position}`, metric] as const),
  );
  return new MathExpression({
    label,
    period,
    expression: `SUM([${Object.keys(byId).join(', ')}])`,
    usingMetrics: byId,
  });
}

/** The period of all alarms that count faults. */
export const FAULT_PERIOD = Duration.minutes(5);

/** For faults that don't repair themselves: goes off at the first one. */
export function onAnyFault(description: string, metric: IMetric): AlarmCondition {
  return { description, metric, threshold: 1, evaluationPeriods: 1, datapointsToAlarm: 1 };
}

/** For faults that retries usually repair: goes off if they continue. */
export function onLastingFault(description: string, metric: IMetric): AlarmCondition {
  return { description, metric, threshold: 1, evaluationPeriods: 3, datapointsToAlarm: 2 };
}

/** For a heartbeat: goes off if it stops for longer than a restart or a late data point explains. */
export function onSilence(description: string, metric: IMetric): AlarmCondition {
  return {
    description,
    metric,
    threshold: 1,
    evaluationPeriods: 3,
    datapointsToAlarm: 3,
    isHeartbeat: true,
  };
}
