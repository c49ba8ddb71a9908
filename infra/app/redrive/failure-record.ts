/**
 * The record of a batch that Lambda gave up on: a JSON document with metadata and, only in S3, the
 * event of the invocation.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
 */
export interface FailureRecord {
  /** The event of the failed invocation, ready to be sent again. */
  readonly event: { readonly Records: readonly unknown[] };

  /** Why Lambda gave up, for example `RetryAttemptsExhausted`. */
  readonly condition: string;
}

/**
 * Reads an object of the failure bucket.
 *
 * @param body the object's content
 * @throws with the reason, if it isn't a failure record that can be sent again
 */
export function readFailureRecord(body: string): FailureRecord {
  const document = object(json(body, 'the object'), 'the object');
  const payload = document['payload'];
  if (payload === undefined || payload === null) {
    throw new Error(
      `it has no payload: Lambda kept only the position in the stream (${JSON.stringify(document['DDBStreamBatchInfo'] ?? {})})`,
    );
  }
  // The documentation shows JSON in a string. An object is accepted, too, so that no events are lost
  // if Lambda's format changes.
  const event = object(
    typeof payload === 'string' ? json(payload, 'its payload') : payload,
    'its payload',
  );
  const records = event['Records'];
  if (!Array.isArray(records) || records.length === 0) {
    throw new Error("its payload has no Records, so it isn't a batch of stream records");
  }
  const context = document['requestContext'];
  const condition = isObject(context) ? context['condition'] : undefined;
  return {
    event: { ...event, Records: records },
    condition: typeof condition === 'string' ? condition : 'unknown condition',
  };
}

function json(content: string, what: string): unknown {
  try {
    return JSON.parse(content);
  } catch (error) {
    throw new Error(`${what} isn't JSON (${error instanceof Error ? error.message : error})`);
  }
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (!isObject(value)) {
    throw new Error(`${what} isn't a JSON object`);
  }
  return value;
}

/** Whether the value is a JSON object, not an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
