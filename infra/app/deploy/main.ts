/** The command `npm run deploy`: how to call it stands in options.ts. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CloudFormationClient } from '@aws-sdk/client-cloudformation';
import { run } from './run';

const CDK = require.resolve('aws-cdk/bin/cdk');
const directory = mkdtempSync(join(tmpdir(), 'eventdb-deploy-'));

run(process.argv.slice(2), {
  cdk: (commandArguments) => {
    const { status, error } = spawnSync(process.execPath, [CDK, ...commandArguments], {
      stdio: 'inherit',
    });
    if (error !== undefined) {
      console.error(`cdk can't be run: ${error.message}`);
    }
    return status ?? 1;
  },
  cloudFormation: (region, profile) =>
    new CloudFormationClient({
      // The CLI and the cdk know the second variable, the SDK only the first.
      region: region ?? process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION'],
      profile,
    }),
  directory,
  report: console.log,
})
  .then((status) => {
    process.exitCode = status;
  })
  .finally(() => rmSync(directory, { recursive: true, force: true }));
