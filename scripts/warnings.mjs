// @ts-check
/**
 * Whether a compiler's warnings fail the test command: those of the compiler that the project is
 * developed with do. A newer one warns of things that nobody here has seen yet, and an older commit
 * must still pass its tests with it; there they are only shown.
 */
import { spawnSync } from 'node:child_process';

/** The newest compiler whose warnings are all dealt with. Raise it together with the mends. */
const NEWEST_KNOWN = { major: 1, minor: 95 };

/**
 * @param {string} [version] what `rustc --version` prints
 * @returns {string[]} flags for clippy and rustdoc
 */
export function denyWarnings(version = installed()) {
  const [, major, minor] = /^rustc (\d+)\.(\d+)\./.exec(version) ?? [];
  if (major === undefined || minor === undefined) {
    throw new Error(`rustc --version doesn't print a version, but: ${version || 'nothing'}`);
  }
  const beyond = Number(major) - NEWEST_KNOWN.major || Number(minor) - NEWEST_KNOWN.minor;
  return beyond > 0 ? [] : ['-D', 'warnings'];
}

function installed() {
  return spawnSync('rustc', ['--version'], { encoding: 'utf8' }).stdout ?? '';
}
