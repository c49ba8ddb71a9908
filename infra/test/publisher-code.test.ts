import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { Bundling } from 'cargo-lambda-cdk/lib/bundling';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EventDB } from '../lib';
import { assertBuildable } from '../lib/store/publisher-code';
import { only, testApp, testStack } from './support';

/** A directory with the only programs that are found; `sh` scripts by their names. */
let programs: string;

/** Makes a program: `script` is what it runs, `$@` its arguments. */
function program(name: string, script: string): void {
  const path = join(programs, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

beforeEach(() => {
  programs = mkdtempSync(join(tmpdir(), 'eventdb-programs-'));
  // cargo-lambda-cdk runs its command with bash, and the scripts need the usual tools.
  vi.stubEnv('PATH', `${programs}:/usr/bin:/bin`);
  vi.stubEnv('CDK_DOCKER', join(programs, 'docker'));
  // It remembers whether cargo-lambda is there, but every test has separate programs.
  Bundling.clearRunsLocallyCache();
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(programs, { recursive: true });
});

/** cargo with cargo-lambda, which "builds" a bundle and writes down how it was called. */
function cargoLambda(): void {
  program(
    'cargo',
    `echo "$@" >> ${programs}/calls
     while [ $# -gt 0 ]; do [ "$1" = --lambda-dir ] && touch "$2/bootstrap"; shift; done`,
  );
}

/** rustc that has the targets. */
function rustTargets(...targets: string[]): void {
  program(
    'rustc',
    `case "$4" in ${targets.join('|') || 'none'}) echo ${programs};; *) echo ${programs}/missing;; esac`,
  );
}

describe('the code of the publisher', () => {
  test('is built by cargo-lambda from the workspace where none is handed in', () => {
    // GIVEN
    cargoLambda();
    rustTargets('aarch64-unknown-linux-gnu');
    const app = testApp();

    // WHEN
    const eventDB = new EventDB(app, 'Events', { isProdEnv: false });

    // THEN
    const build = readFileSync(join(programs, 'calls'), 'utf8')
      .split('\n')
      .find((call) => call.startsWith('lambda build'));
    expect(build?.replace(/--lambda-dir \S+/, '--lambda-dir DIR')).toBe(
      'lambda build --lambda-dir DIR --release --arm64 --bin eventdb-publisher ' +
        '--flatten eventdb-publisher --locked --package eventdb-publisher --skip-target-check',
    );
    const publisher = only(
      Template.fromStack(Stack.of(eventDB)),
      'AWS::Lambda::Function',
      'Publisher',
    );
    expect(publisher.Properties).toMatchObject({
      Architectures: ['arm64'],
      Runtime: 'provided.al2023',
      Handler: 'bootstrap',
    });
  });

  test('is built for x86_64 on demand', () => {
    cargoLambda();
    rustTargets('x86_64-unknown-linux-gnu');
    new EventDB(testApp(), 'Events', { isProdEnv: false, architecture: Architecture.X86_64 });

    expect(readFileSync(join(programs, 'calls'), 'utf8')).toContain('--release --x86-64 --bin');
  });

  test('is not built, nor are tools asked for, when no stack is bundled (cdk list)', () => {
    // GIVEN no program at all
    const app = testApp({ 'aws:cdk:bundling-stacks': [] });

    // WHEN
    const eventDB = new EventDB(app, 'Events', { isProdEnv: false });

    // THEN
    Template.fromStack(Stack.of(eventDB)).resourceCountIs('AWS::Lambda::EventSourceMapping', 1);
  });

  test('fails before the build if the target is missing, and names every way on', () => {
    cargoLambda();
    rustTargets('x86_64-unknown-linux-gnu');

    expect(() => new EventDB(testStack(), 'Events', { isProdEnv: false })).toThrow(
      "can't be built for arm64 on this machine: the Rust target aarch64-unknown-linux-gnu isn't " +
        'installed. Install it (rustup target add aarch64-unknown-linux-gnu), build for x86_64 ' +
        'instead (in the app: -c architecture=x86_64 or EVENTDB_ARCHITECTURE=x86_64; in code: ' +
        'the property architecture), or pass a built bundle',
    );
  });

  test('fails before the build if there is neither cargo-lambda nor Docker', () => {
    program('cargo', 'exit 101');

    expect(() => new EventDB(testStack(), 'Events', { isProdEnv: false })).toThrow(
      /`cargo lambda` doesn't run \(and neither does Docker.*npm run synth/,
    );
  });

  test('fails before the build if there are spaces in the path of the output', () => {
    cargoLambda();
    rustTargets('aarch64-unknown-linux-gnu');
    const outdir = join(programs, 'my app');

    expect(() => new EventDB(new App({ outdir }), 'Events', { isProdEnv: false })).toThrow(
      `The publisher can't be built into '${outdir}', because the path contains spaces`,
    );
  });

  test('is left to Docker where there is no cargo-lambda', () => {
    program('docker', 'exit 0');

    expect(() => assertBuildable(Architecture.ARM_64)).not.toThrow();
  });

  test('fails if there is no Rust at all', () => {
    cargoLambda();

    program('rustc', 'exit 127');
    expect(() => assertBuildable(Architecture.X86_64)).toThrow(
      'rustup target add x86_64-unknown-linux-gnu',
    );
  });

  test('fails if the architecture is unknown', () => {
    cargoLambda();

    expect(() => assertBuildable(Architecture.custom('riscv'))).toThrow(
      "architecture 'riscv' is unknown; it must be one of arm64, x86_64",
    );
  });
});
