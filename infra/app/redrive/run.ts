import { type RedriveOptions, readOptions, USAGE, UsageError } from './options';
import { type RedriveClients, redrive } from './redrive';

/**
 * Runs the command.
 *
 * @param commandArguments the arguments after the program's name
 * @returns the exit status: 0 all published, 1 something is left in the bucket, 2 invalid arguments
 */
export async function run(
  commandArguments: readonly string[],
  clients: RedriveClients,
): Promise<number> {
  let options: RedriveOptions | 'help';
  try {
    options = readOptions(commandArguments);
  } catch (error) {
    if (!(error instanceof UsageError)) {
      throw error;
    }
    clients.report(`${error.message}\n\n${USAGE}`);
    return 2;
  }
  if (options === 'help') {
    clients.report(USAGE);
    return 0;
  }

  try {
    const { redriven, records, failed } = await redrive(options, clients);
    const what = options.isDryRun ? 'would be redriven' : 'redriven';
    clients.report(`${redriven} objects with ${records} records ${what}, ${failed} stay.`);
    return failed === 0 ? 0 : 1;
  } catch (error) {
    // The listing failed: the bucket's name, the region or the permissions are wrong.
    const reason = error instanceof Error ? `${error.name}: ${error.message}` : error;
    clients.report(`The bucket ${options.bucket} can't be listed: ${reason}`);
    return 1;
  }
}
