/** The command `npm run redrive`. Its usage is in options.ts. */
import { LambdaClient } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
import { run } from './run';

run(process.argv.slice(2), {
  s3: new S3Client(),
  // Lambda answers only when the batch is published, which can take a minute. A retry by the SDK
  // would publish everything twice.
  lambda: new LambdaClient({ maxAttempts: 1 }),
  report: console.log,
}).then((status) => {
  process.exitCode = status;
});
