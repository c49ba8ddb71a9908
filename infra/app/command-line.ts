/**
 * Runs the app. On an error, it prints only the message and sets the exit status. With
 * EVENTDB_TRACE=1, it also prints the stack trace.
 */
export function runOrPrintError(run: () => void): void {
  try {
    run();
  } catch (error) {
    const explain = error instanceof Error && process.env['EVENTDB_TRACE'] === undefined;
    console.error(explain ? error.message : error);
    process.exitCode = 1;
  }
}
