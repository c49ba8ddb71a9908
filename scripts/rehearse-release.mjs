// @ts-check
/**
 * Goes through a release without publishing anything: the versions agree, and both registries'
 * clients would take the packages. With `--tag v1.2.3`, as the release itself calls it, the tag and
 * the changelog must name the version, too.
 *
 * That the packages work is tested elsewhere: the library by test-front-door.mjs, the tool by
 * test-tool-install.mjs, the npm package by test-package.mjs.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './python-environment.mjs';

const read = (/** @type {string} */ file) => readFileSync(join(REPOSITORY, file), 'utf8');

const [option, tag] = process.argv.slice(2);
if (option !== undefined && (option !== '--tag' || tag === undefined)) {
  console.error('Usage: node scripts/rehearse-release.mjs [--tag v<version>]');
  process.exit(2);
}

const version = /^version = "(.*)"$/m.exec(read('Cargo.toml'))?.[1];
const npmVersion = JSON.parse(read('infra/package.json')).version;
/** @type {string[]} */
const faults = [];
if (version === undefined || version !== npmVersion) {
  faults.push(
    `Cargo.toml has version ${version} and infra/package.json ${npmVersion}: they must be the same`,
  );
}
const changelog = read('CHANGELOG.md');
if (!/^## Unreleased$/m.test(changelog)) {
  faults.push('CHANGELOG.md lacks the heading `## Unreleased`');
}
if (tag !== undefined) {
  if (tag !== `v${version}`) {
    faults.push(`the tag is ${tag}, but Cargo.toml has version ${version}: tag v${version}`);
  }
  if (
    !new RegExp(`^## ${version?.replaceAll('.', '\\.')} - \\d{4}-\\d\\d-\\d\\d$`, 'm').test(
      changelog,
    )
  ) {
    faults.push(`CHANGELOG.md lacks the heading \`## ${version} - <date>\``);
  }
}
if (faults.length > 0) {
  console.error(faults.join('\n'));
  process.exit(1);
}

// A CI machine packs what is committed; elsewhere work may be under way.
const dirty = process.env['CI'] ? [] : ['--allow-dirty'];
dryRun('cargo', [
  ...['publish', '--dry-run', '--package', 'eventdb'],
  ...['--package', 'eventdb-explore', '--package', 'eventdb-cli'],
  ...['--locked', '--no-verify'],
  ...['--target-dir', join('target', 'release-rehearsal'), ...dirty],
]);
// Its scripts would demand the function, built for both machines.
dryRun('npm', ['publish', '--dry-run', '--ignore-scripts', '--workspace', 'infra']);
console.log(`\n${version} of the crates and the npm package could be published`);

/**
 * @param {string} program
 * @param {string[]} programArguments
 */
function dryRun(program, programArguments) {
  console.log(`- ${program} ${programArguments.join(' ')}`);
  const { error, status, stdout, stderr } = spawnSync(program, programArguments, {
    cwd: REPOSITORY,
    encoding: 'utf8',
    shell: process.platform === 'win32' && program === 'npm',
  });
  if (/cannot publish over the previously published/i.test(stderr ?? '')) {
    console.log('  this version is out already: the next release raises it');
  } else if (error !== undefined || status !== 0) {
    console.error(stdout, stderr);
    console.error(`${program}'s dry run failed (${error?.message ?? `status ${status}`})`);
    process.exit(1);
  }
}
