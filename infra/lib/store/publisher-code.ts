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

/** Name of the publisher's package in the Cargo workspace and of the binary it builds. */
const BINARY = 'eventdb-publisher';

/** What Rust calls the machines that Lambda calls by these names. */
const RUST_TARGETS: Readonly<Record<string, string>> = {
  [Architecture.ARM_64.name]: 'aarch64-unknown-linux-gnu',
  [Architecture.X86_64.name]: 'x86_64-unknown-linux-gnu',
};

/** Properties of the publisher's function beside its code. */
export interface PublisherFunctionProps extends FunctionOptions {
  /** The machine that the function runs on, and that its code is built for. */
  readonly architecture: Architecture;

  /** A built bundle: `bootstrap` at its top, for that architecture. */
  readonly code?: Code;
}

/**
 * The publisher's function, with its code from where there is any: the bundle that was handed in,
 * the sources of the repository that this package lies in, or the bundle inside this package.
 *
 * The sources go before the bundle: where there are both, the bundle may be of yesterday.
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
    // Listing or destroying stacks needs no code, so it must work without the tools to build it.
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
          // Else cargo-lambda runs `rustup target add` by itself. What is missing is reported by
          // assertBuildable, with what to do about it.
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
    `This package carries no publisher for ${options.architecture.name} (looked for ${bundle}). ` +
      `Hand in a built bundle: code: Code.fromAsset('<directory or zip with bootstrap at its top>'), ` +
      `built with: cargo lambda build --release ${cargoLambdaFlag(options.architecture)} --package ${BINARY}`,
  );
}

/** Loaded where it is used, so that only those who build the sources need the package. */
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
 * Says what is missing for a build, before cargo-lambda-cdk would fall back to Docker and fail
 * with Docker's exit status only.
 *
 * @param architecture the machine to build for
 * @throws if this machine can't build for it
 */
export function assertBuildable(architecture: Architecture): void {
  const otherWays =
    "or hand in a built bundle (code: Code.fromAsset('...'); in the app: -c code=<directory or zip>)";

  if (!succeeds('cargo', ['lambda', '--version'])) {
    if (succeeds(process.env['CDK_DOCKER'] ?? 'docker', ['version'])) {
      // cargo-lambda-cdk builds in cargo-lambda's image then, which has every target.
      return;
    }
    throw new Error(
      "The publisher is a Rust function and this machine can't build it: `cargo lambda` doesn't run " +
        '(and neither does Docker, the other way to build). Run the command through the ' +
        "repository's own set-up, which installs cargo-lambda and zig into .venv " +
        `(npm run synth, npm run deploy), install cargo-lambda yourself, ${otherWays}.`,
    );
  }

  const target = RUST_TARGETS[architecture.name];
  if (target === undefined) {
    throw new Error(
      `architecture '${architecture.name}' is unknown; allowed are ${Object.keys(RUST_TARGETS).join(', ')}`,
    );
  }
  if (!hasRustTarget(target)) {
    const other =
      architecture.name === Architecture.ARM_64.name ? Architecture.X86_64 : Architecture.ARM_64;
    throw new Error(
      `The publisher can't be built for ${architecture.name} on this machine: the Rust target ` +
        `${target} is not installed. Install it (rustup target add ${target}), build for ` +
        `${other.name} instead (in the app: -c architecture=${other.name} or ` +
        `EVENTDB_ARCHITECTURE=${other.name}; in code: the property architecture), ${otherWays}.`,
    );
  }
}

/** cargo-lambda-cdk puts the directory into a command line as it is. */
function assertNoSpaces(outputDirectory: string): void {
  if (/\s/.test(outputDirectory)) {
    throw new Error(
      `The publisher can't be built into '${outputDirectory}', for there are spaces in the path: ` +
        'choose another directory (cdk --output), or hand in a built bundle (code)',
    );
  }
}

/** Whether the standard library for the target is there; asked of rustc, for not all use rustup. */
function hasRustTarget(target: string): boolean {
  const asked = spawnSync('rustc', ['--print', 'target-libdir', '--target', target], {
    encoding: 'utf8',
  });
  return asked.status === 0 && existsSync(asked.stdout.trim());
}

function succeeds(command: string, commandArguments: readonly string[]): boolean {
  return spawnSync(command, commandArguments, { stdio: 'ignore' }).status === 0;
}

/** The manifest of the Cargo workspace, if this package lies in its repository. */
function workspaceManifest(): string | undefined {
  const repository = dirname(packageDirectory());
  const isRepository = existsSync(join(repository, 'eventdb', 'Cargo.toml'));
  return isRepository ? join(repository, 'Cargo.toml') : undefined;
}

/**
 * Where the package has the function that was built for the architecture: as a zip file, which keeps
 * the executable bit where the file system has none.
 */
function packagedBundle(architecture: Architecture): string {
  return join(packageDirectory(), 'function', architecture.name, 'bootstrap.zip');
}

/** The directory of this package: the same for lib/*.ts and for dist/infra/lib/*.js. */
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
