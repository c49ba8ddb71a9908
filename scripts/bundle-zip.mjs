// @ts-check
/**
 * Packs a built function for Lambda, with its modes: a zip file that is made of a directory on
 * Windows, by the CDK for example, has none, and Lambda can't run what isn't executable.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** The same input makes the same file, so that an unchanged function isn't deployed again. */
const PROGRAM = `
import sys, zipfile
source, target = sys.argv[1:]
entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
entry.create_system = 3  # Unix, whatever this machine is: only then the mode counts
entry.external_attr = 0o100755 << 16
entry.compress_type = zipfile.ZIP_DEFLATED
with open(source, "rb") as executable, zipfile.ZipFile(target, "w") as packed:
    packed.writestr(entry, executable.read(), compresslevel=9)
`;

/**
 * Packs `bootstrap` of the directory into `bootstrap.zip` next to it.
 *
 * @param {string} python the Python to run
 * @param {string} directory
 * @returns {string} the zip file's path
 */
export function zipBundle(python, directory) {
  const target = join(directory, 'bootstrap.zip');
  const { status, stderr, error } = spawnSync(
    python,
    ['-c', PROGRAM, join(directory, 'bootstrap'), target],
    { encoding: 'utf8' },
  );
  if (status !== 0) {
    throw new Error(`${directory}/bootstrap can't be packed: ${error?.message ?? stderr}`);
  }
  return target;
}
