import { Duration, Token } from 'aws-cdk-lib';

/**
 * Checks of properties for users of plain JavaScript, who don't have the compiler's checks. Each
 * error contains the property, its value and what it must be.
 */

/** A value for a message. */
export function shown(value: unknown): string {
  if (typeof value === 'string') {
    return `'${value}'`;
  }
  if (typeof value === 'object' && value !== null) {
    return Array.isArray(value) ? 'a list' : 'an object';
  }
  return typeof value === 'function' ? 'a function' : String(value);
}

/**
 * Refuses a construct without properties.
 *
 * @param construct the name of the construct
 * @param props what was given
 * @param example the minimal properties
 */
export function requireProperties(construct: string, props: unknown, example: string): void {
  if (typeof props !== 'object' || props === null) {
    throw new Error(
      `${construct} needs properties as its third argument, and got ${shown(props)}; give at least ${example}`,
    );
  }
}

/** Refuses anything but `true` and `false`. */
export function requireBoolean(property: string, value: unknown): void {
  if (typeof value !== 'boolean') {
    throw new Error(
      value === undefined
        ? `${property} is missing; give true or false`
        : `${property} must be true or false, and is ${shown(value)}`,
    );
  }
}

/** Refuses anything but `true`, `false` and nothing at all. */
export function allowOptionalBoolean(property: string, value: unknown): void {
  if (value !== undefined) {
    requireBoolean(property, value);
  }
}

/** Refuses what isn't an integer from `least` to `most`; tokens and nothing at all may pass. */
export function allowInteger(property: string, value: unknown, least: number, most: number): void {
  if (
    value !== undefined &&
    !Token.isUnresolved(value) &&
    !(Number.isInteger(value) && Number(value) >= least && Number(value) <= most)
  ) {
    throw new Error(
      `${property} must be an integer from ${least} to ${most}, and is ${shown(value)}`,
    );
  }
}

/** Refuses a list with other members than the allowed ones, or with one of them twice. */
export function allowOnly(property: string, values: unknown, allowed: readonly string[]): void {
  if (values === undefined) {
    return;
  }
  const choice = `give a list of ${allowed.map((name) => `'${name}'`).join(', ')}`;
  if (!Array.isArray(values)) {
    throw new Error(`${property} must be a list, and is ${shown(values)}; ${choice}`);
  }
  values.forEach((value, position) => {
    if (!allowed.includes(value)) {
      throw new Error(`${property} has ${shown(value)}, which doesn't exist; ${choice}`);
    }
    if (values.indexOf(value) !== position) {
      throw new Error(`${property}: '${value}' is there more than once`);
    }
  });
}

/**
 * Refuses a duration that AWS would refuse only when the stack is deployed.
 *
 * @param name the property
 * @param value its value, if there is one
 * @param least the shortest allowed
 * @param most the longest allowed
 */
export function allowDuration(
  name: string,
  value: Duration | undefined,
  least: Duration,
  most: Duration,
): void {
  if (value === undefined || value.isUnresolved()) {
    return;
  }
  const milliseconds = value.toMilliseconds();
  if (milliseconds < least.toMilliseconds() || milliseconds > most.toMilliseconds()) {
    throw new Error(
      `${name} must be from ${least.toHumanString()} to ${most.toHumanString()}, and is ${value.toHumanString()}`,
    );
  }
}

/**
 * A duration as a whole number of days.
 *
 * @param name the property
 * @param value its value
 * @param most the most days allowed
 */
export function wholeDays(name: string, value: Duration, most: number): number {
  const days = value.toMilliseconds() / Duration.days(1).toMilliseconds();
  if (!Number.isInteger(days) || days < 1 || days > most) {
    throw new Error(
      `${name} must be a whole number of days from 1 to ${most}, and is ${value.toHumanString()}`,
    );
  }
  return days;
}
