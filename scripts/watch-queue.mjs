// @ts-check
/**
 * Prints the messages of the queue that `LIBRARY_QUEUE` names, one CloudEvent a line, and deletes
 * them, until Ctrl-C: `npm run --silent local:watch`
 */
import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

const queue = process.env['LIBRARY_QUEUE'];
if (queue === undefined || process.env['AWS_ENDPOINT_URL'] === undefined) {
  // Without an endpoint it would take messages from a queue in somebody's account.
  console.error('LIBRARY_QUEUE and AWS_ENDPOINT_URL must be set, as `npm run local` says.');
  process.exit(2);
}
process.on('SIGINT', () => process.exit(0));
const sqs = new SQSClient({});
for (;;) {
  const { Messages: messages = [] } = await sqs.send(
    new ReceiveMessageCommand({ QueueUrl: queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 20 }),
  );
  for (const { Body: body, ReceiptHandle: handle } of messages) {
    console.log(body);
    await sqs.send(new DeleteMessageCommand({ QueueUrl: queue, ReceiptHandle: handle }));
  }
}
