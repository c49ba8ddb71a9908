/**
 * Whether a record passes a filter of an event source mapping, by the rules that Lambda documents:
 * all members of a pattern must match, any value of a list may, and a value is a text, a number,
 * null, or an object with one operator. Only the operator `prefix` is known here; a filter with another
 * one throws.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
 */
export function passes(record: unknown, pattern: unknown): boolean {
  if (Array.isArray(pattern)) {
    return pattern.some((rule) => matches(record, rule));
  }
  return Object.entries(Object(pattern)).every(([name, member]) => {
    const value = isObject(record) ? record[name] : undefined;
    return passes(value, member);
  });
}

function matches(value: unknown, rule: unknown): boolean {
  if (!isObject(rule)) {
    return value === rule;
  }
  const [operator, ...others] = Object.entries(rule);
  if (operator === undefined || operator[0] !== 'prefix' || others.length > 0) {
    throw new Error(`the rule ${JSON.stringify(rule)} isn't known here`);
  }
  return typeof value === 'string' && value.startsWith(String(operator[1]));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
