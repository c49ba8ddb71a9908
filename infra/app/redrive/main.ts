/** The command `npm run redrive`: how to call it stands in options.ts. */
import { LambdaClient } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
import { run } from './run';

run(process.argv.slice(2), {
  s3: new S3Client(),
  // Lambda holds the answer back until the batch is published, a minute at most; a second
  // invocation by the SDK, because the first seems lost, would only publish everything twice.
  lambda: new LambdaClient({ maxAttempts: 1 }),
  report: console.log,
}).then((status) => {
  process.exitCode = status;
});
