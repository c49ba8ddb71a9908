import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Stack, Stage } from 'aws-cdk-lib';
import {
  Architecture,
  Code,
  type FunctionOptions,
  Function as LambdaFunction,
  Runtime,
} from 'aws-cdk-lib/aws-lambda';
import type { RustFunction } from 'cargo-lambda-cdk';
import type { Construct } from 'constructs';

/** Name of the publisher's package in the Cargo workspace, and of its binary. */
const BINARY = 'eventdb-publisher';

/** The Rust targets of Lambda's architectures. */
const RUST_TARGETS: Readonly<Record<string, string>> = {
  [Architecture.ARM_64.name]: 'aarch64-unknown-linux-gnu',
  [Architecture.X86_64.name]: 'x86_64-unknown-linux-gnu',
};

/** Properties of the publisher's function. */
export interface PublisherFunctionProps extends FunctionOptions {
  /** The architecture on which the function runs and for which its code is built. */
  readonly architecture: Architecture;

  /** A built bundle for that architecture, with `bootstrap` at its top. */
  readonly code?: Code;
}

/**
 * The publisher's function. Its code is the given bundle, or the sources of the repository that
 * contains this package, or the bundle in this package, in this order.
 *
 * The sources precede the package's bundle, because the bundle may be out of date.
 */
export function publisherFunction(
  scope: Construct,
  id: string,
  props: PublisherFunctionProps,
): LambdaFunction {
  const { code, ...options } = props;
  if (code !== undefined) {
    return functionOfBundle(scope, id, code, options);
  }

  const workspace = workspaceManifest();
  if (workspace !== undefined) {
    // Listing or destroying stacks needs no code, so it must work without the build tools.
    if (Stack.of(scope).bundlingRequired) {
      assertBuildable(options.architecture);
      assertNoSpaces(Stage.of(scope)?.assetOutdir ?? '');
    }
    return new (rustFunction())(scope, id, {
      ...options,
      manifestPath: workspace,
      binaryName: BINARY,
      bundling: {
        architecture: options.architecture,
        cargoLambdaFlags: [
          '--locked',
          '--package',
          BINARY,
          // Otherwise cargo-lambda runs `rustup target add`. assertBuildable reports a missing target
          // and what to do.
          '--skip-target-check',
        ],
      },
    });
  }

  const bundle = packagedBundle(options.architecture);
  if (existsSync(bundle)) {
    return functionOfBundle(scope, id, Code.fromAsset(bundle), options);
  }
  throw new Error(
    `This package has no publisher for ${options.architecture.name} (looked for ${bundle}). ` +
      `Pass a built bundle, code: Code.fromAsset('<directory or zip with bootstrap at its top>'), ` +
      `built with: cargo lambda build --release ${cargoLambdaFlag(options.architecture)} --package ${BINARY}`,
  );
}

/** Loaded only here, so that the package is needed only to build from the sources. */
function rustFunction(): typeof RustFunction {
  return createRequire(__filename)('cargo-lambda-cdk').RustFunction;
}

function functionOfBundle(
  scope: Construct,
  id: string,
  code: Code,
  options: FunctionOptions,
): LambdaFunction {
  return new LambdaFunction(scope, id, {
    ...options,
    code,
    runtime: Runtime.PROVIDED_AL2023,
    handler: 'bootstrap',
  });
}

/**
 * Reports what is missing for a build. Otherwise cargo-lambda-cdk would fall back to Docker and
 * fail with nothing but Docker's exit status.
 *
 * @param architecture the architecture to build for
 * @throws if this machine can't build for it
 */
export function assertBuildable(architecture: Architecture): void {
  const otherWays =
    "or pass a built bundle (code: Code.fromAsset('...'); in the app: -c code=<directory or zip>)";

  if (!succeeds('cargo', ['lambda', '--version'])) {
    if (succeeds(process.env['CDK_DOCKER'] ?? 'docker', ['version'])) {
      // Then cargo-lambda-cdk builds in cargo-lambda's image, which has every target.
      return;
    }
    throw new Error(
      "The publisher is a Rust function and this machine can't build it: `cargo lambda` doesn't run " +
        '(and neither does Docker, the other way to build). Use npm run synth or npm run deploy, ' +
        `which install cargo-lambda and zig into .venv, install cargo-lambda yourself, ${otherWays}.`,
    );
  }

  const target = RUST_TARGETS[architecture.name];
  if (target === undefined) {
    throw new Error(
      `architecture '${architecture.name}' is unknown; it must be one of ${Object.keys(RUST_TARGETS).join(', ')}`,
    );
  }
  if (!hasRustTarget(target)) {
    const other =
      architecture.name === Architecture.ARM_64.name ? Architecture.X86_64 : Architecture.ARM_64;
    throw new Error(
      `The publisher can't be built for ${architecture.name} on this machine: the Rust target ` +
        `${target} isn't installed. Install it (rustup target add ${target}), build for ` +
        `${other.name} instead (in the app: -c architecture=${other.name} or ` +
        `EVENTDB_ARCHITECTURE=${other.name}; in code: the property architecture), ${otherWays}.`,
    );
  }
}

/** cargo-lambda-cdk puts the directory into a command line without quoting it. */
function assertNoSpaces(outputDirectory: string): void {
  if (/\s/.test(outputDirectory)) {
    throw new Error(
      `The publisher can't be built into '${outputDirectory}', because the path contains spaces: ` +
        'choose another directory (cdk --output), or pass a built bundle (code)',
    );
  }
}

/** Whether the target's standard library is installed. It asks rustc, because not all use rustup. */
function hasRustTarget(target: string): boolean {
  const asked = spawnSync('rustc', ['--print', 'target-libdir', '--target', target], {
    encoding: 'utf8',
  });
  return asked.status === 0 && existsSync(asked.stdout.trim());
}

function succeeds(command: string, commandArguments: readonly string[]): boolean {
  return spawnSync(command, commandArguments, { stdio: 'ignore' }).status === 0;
}

/** The manifest of the Cargo workspace, if this package is in its repository. */
function workspaceManifest(): string | undefined {
  const repository = dirname(packageDirectory());
  const isRepository = existsSync(join(repository, 'eventdb', 'Cargo.toml'));
  return isRepository ? join(repository, 'Cargo.toml') : undefined;
}

/**
 * The path of the package's function for the architecture. It is a zip file, which keeps the
 * executable bit on every file system.
 */
function packagedBundle(architecture: Architecture): string {
  return join(packageDirectory(), 'function', architecture.name, 'bootstrap.zip');
}

/** The directory of this package, for lib/*.ts as well as dist/infra/lib/*.js. */
function packageDirectory(): string {
  let directory = __dirname;
  while (!existsSync(join(directory, 'package.json'))) {
    directory = dirname(directory);
  }
  return directory;
}

function cargoLambdaFlag(architecture: Architecture): string {
  return architecture.name === Architecture.ARM_64.name ? '--arm64' : '--x86-64';
}
