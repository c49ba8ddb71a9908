/**
 * Runs the app, and tells the user of the command line what is wrong in a sentence, without the
 * stack trace of a program they didn't write (set EVENTDB_TRACE=1 to see it).
 */
export function orExplain(run: () => void): void {
  try {
    run();
  } catch (error) {
    const explain = error instanceof Error && process.env['EVENTDB_TRACE'] === undefined;
    console.error(explain ? error.message : error);
    process.exitCode = 1;
  }
}
