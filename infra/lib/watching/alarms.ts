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
  /** What is wrong then and what to do, for the person who gets the notification. */
  readonly description: string;

  /** What is measured. */
  readonly metric: IMetric;

  /** The alarm goes off at this value and above; for a sign of life, below this value. */
  readonly threshold: number;

  /** Of how many periods at the end ... */
  readonly evaluationPeriods: number;

  /** ... how many must be at the threshold or above (for a sign of life: below it or silent). */
  readonly datapointsToAlarm: number;

  /**
   * Whether the metric is a sign of life: it is reported all the time, too little of it is the
   * fault, and so is silence. Otherwise the metric counts faults, and silence is none.
   *
   * @default false
   */
  readonly isSignOfLife?: boolean;
}

/** An alarm, with notifications for its coming and its going. */
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
    ...(condition.isSignOfLife === true
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
 * The sum of metrics of which any may be missing: `SUM` over a list passes over what is missing,
 * while `+` gives nothing when one side is.
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

/** A fault that nothing repairs by itself: every one counts. */
export function onAnyFault(description: string, metric: IMetric): AlarmCondition {
  return { description, metric, threshold: 1, evaluationPeriods: 1, datapointsToAlarm: 1 };
}

/** A fault that retries repair, unless it goes on. */
export function onLastingFault(description: string, metric: IMetric): AlarmCondition {
  return { description, metric, threshold: 1, evaluationPeriods: 3, datapointsToAlarm: 2 };
}

/** A sign of life that has stopped, for longer than a restart or a late data point explains. */
export function onSilence(description: string, metric: IMetric): AlarmCondition {
  return {
    description,
    metric,
    threshold: 1,
    evaluationPeriods: 3,
    datapointsToAlarm: 3,
    isSignOfLife: true,
  };
}
