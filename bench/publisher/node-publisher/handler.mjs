// The same job written the usual way for Node.js: one awaited Publish per record.

import { PublishCommand, SNSClient } from '@aws-sdk/client-sns';
import { unmarshall } from '@aws-sdk/util-dynamodb';

const sns = new SNSClient({});

const attribute = (value) => ({ DataType: 'String', StringValue: value });

export const handler = async (event) => {
  for (const record of event.Records) {
    if (record.eventName !== 'INSERT') continue;
    const { id, source, type, subject, time, revision, data } = unmarshall(
      record.dynamodb.NewImage,
    );
    // A table by revision has JSON text, which is checked and passed on as it is.
    const isText = typeof data === 'string';
    if (isText) JSON.parse(data);
    const timestamp = new Date(time).toISOString();
    const sequence = String(revision).padStart(20, '0');
    const envelope = {
      specversion: '1.0',
      id,
      source,
      type,
      subject,
      time: timestamp,
      datacontenttype: 'application/json',
      sequence,
    };
    const message = isText
      ? `${JSON.stringify(envelope).slice(0, -1)},"data":${data}}`
      : JSON.stringify({ ...envelope, data });
    try {
      await sns.send(
        new PublishCommand({
          TopicArn: process.env.EVENT_TOPIC_ARN,
          Message: message,
          MessageAttributes: {
            id: attribute(id),
            type: attribute(type),
            time: attribute(timestamp),
            source: attribute(source),
            subject: attribute(subject),
            sequence: attribute(sequence),
          },
        }),
      );
    } catch (error) {
      console.error(error);
      return { batchItemFailures: [{ itemIdentifier: record.dynamodb.SequenceNumber }] };
    }
  }
  return { batchItemFailures: [] };
};
