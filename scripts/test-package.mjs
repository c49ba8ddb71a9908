// @ts-check
/**
 * Packs the constructs, installs the tarball into a fresh app, and synthesises there: compiles
 * every example of the package's README as a user would, and runs the first.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zipBundle } from './bundle-zip.mjs';

const repository = dirname(dirname(fileURLToPath(import.meta.url)));
const infra = join(repository, 'infra');
const directory = mkdtempSync(join(tmpdir(), 'eventdb-package-'));
const manifest = JSON.parse(readFileSync(join(infra, 'package.json'), 'utf8'));

/** The versions that the package was developed with, and the lowest that it says it works with. */
const VERSIONS = {
  developed: pick(manifest.devDependencies),
  lowest: pick(manifest.peerDependencies),
};

/** Any Python will do. */
const python = process.platform === 'win32' ? 'python' : 'python3';

let application = '';
let installed = '';

try {
  const tarball = pack();
  for (const [name, versions] of Object.entries(VERSIONS)) {
    step(`with aws-cdk-lib ${versions['aws-cdk-lib']} and constructs ${versions.constructs}`);
    application = join(directory, name);
    installed = join(application, 'node_modules', 'eventdb-cdk');
    install(tarball, versions);
    checkContents();
    checkLinks();
    const examples = writeExamples();
    compile();
    const [first] = examples;
    assert.ok(first, 'the README has an example');

    step('without the built publisher, the first example fails and says what to do');
    rmSync(join(installed, 'function'), { recursive: true, force: true });
    const refused = run('node', [`${first}.js`], application);
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /has no publisher for arm64 .*Pass a built bundle, code: /);

    step('with the built publisher in the package, every example synthesises');
    packPublisher(join(installed, 'function', 'arm64'));
    for (const example of examples) {
      const { status, stderr } = run('node', [`${example}.js`], application, {
        CDK_OUTDIR: join(application, `${example}.out`),
      });
      assert.equal(status, 0, stderr);
    }
    checkTemplate(join(application, `${first}.out`));
  }
  console.log('test-package: 1 passed, 0 failed');
} finally {
  rmSync(directory, { recursive: true });
}

/**
 * @param {Record<string, string>} versions
 * @returns {{ 'aws-cdk-lib': string, constructs: string }} exact ones
 */
function pick(versions) {
  const exact = (/** @type {string} */ name) => (versions[name] ?? '').replace(/^\^/, '');
  return { 'aws-cdk-lib': exact('aws-cdk-lib'), constructs: exact('constructs') };
}

/** @returns {string} the tarball's path */
function pack() {
  step('npm pack');
  succeed('npm', ['pack', '--silent', '--pack-destination', directory], infra);
  const name = readdirSync(directory).find((file) => file.endsWith('.tgz'));
  assert.ok(name, 'npm pack made a tarball');
  return join(directory, name);
}

/**
 * A fresh app. It has no cargo-lambda-cdk, which only those need who build the sources.
 *
 * @param {string} tarball
 * @param {{ 'aws-cdk-lib': string, constructs: string }} versions
 */
function install(tarball, versions) {
  step('npm install of the tarball in a fresh app');
  mkdirSync(application);
  write('package.json', {
    private: true,
    dependencies: { ...versions, 'eventdb-cdk': `file:${tarball}` },
    devDependencies: {
      '@types/node': manifest.devDependencies['@types/node'],
      typescript: manifest.devDependencies.typescript,
    },
  });
  succeed('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund'], application);
  assert.ok(!existsSync(join(application, 'node_modules', 'cargo-lambda-cdk')));
}

/** The package's page on npm has no files of the repository to link to. */
function checkLinks() {
  const readme = readFileSync(join(installed, 'README.md'), 'utf8');
  const links = [...readme.matchAll(/\]\(([^)]*)\)/g)].map(([, link]) => link ?? '');
  assert.deepEqual(
    links.filter((link) => !/^(https:\/\/|#)/.test(link)),
    [],
    'links of the README that break on npm',
  );
}

/** Types, documentation, schema and licence are there; sources, tests and the app are not. */
function checkContents() {
  step('contents of the package');
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8' })
    .filter((file) => statSync(join(installed, file)).isFile())
    .filter((file) => !file.startsWith('node_modules'));
  for (const file of ['README.md', 'LICENSE', 'dist/infra/lib/index.d.ts']) {
    assert.ok(files.includes(file), `${file} is packed`);
  }
  const allowed =
    /^(README\.md|LICENSE|package\.json|function\/(arm64|x86_64)\/bootstrap\.zip|dist\/eventdb\/schema\.json|dist\/infra\/lib\/([a-z-]+\/)?[a-z-]+\.(js|d\.ts))$/;
  assert.deepEqual(
    files.filter((file) => !allowed.test(file)),
    [],
    'nothing else is packed',
  );
  assert.deepEqual(
    JSON.parse(readFileSync(join(installed, 'dist', 'eventdb', 'schema.json'), 'utf8')),
    JSON.parse(readFileSync(join(repository, 'eventdb', 'schema.json'), 'utf8')),
    'the schema is the one of the crate',
  );
}

/** @returns {string[]} the names of the examples, without ending */
function writeExamples() {
  const readme = readFileSync(join(installed, 'README.md'), 'utf8');
  const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code ?? '');
  assert.equal(examples.length, 5, 'the README has its examples');
  return examples.map((code, position) => {
    const name = `example-${position + 1}`;
    // The examples end where the command line would synthesise.
    writeFileSync(join(application, `${name}.ts`), code);
    return name;
  });
}

/** Compiles the examples with the strictest settings, the package's own types included. */
function compile() {
  step('the examples of the README compile');
  write('tsconfig.json', {
    compilerOptions: {
      target: 'es2022',
      module: 'node16',
      types: ['node'],
      strict: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
    },
    include: ['*.ts'],
  });
  succeed('npx', ['--no-install', 'tsc'], application);
}

/**
 * Something in the place of the publisher, packed as the publisher is.
 *
 * @param {string} bundle
 */
function packPublisher(bundle) {
  mkdirSync(bundle, { recursive: true });
  // Without the executable bit, as on Windows.
  writeFileSync(join(bundle, 'bootstrap'), '#!/bin/sh\nexit 1\n', { mode: 0o644 });
  const zip = zipBundle(python, bundle);
  assert.equal(modeIn(zip), 0o100755, 'bootstrap is executable inside the zip file');
}

/**
 * @param {string} zip
 * @returns {number} the mode of the only file in it
 */
function modeIn(zip) {
  const program =
    'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).infolist()[0].external_attr >> 16)';
  const { status, stdout, stderr } = spawnSync(python, ['-c', program, zip], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return Number(stdout);
}

/** @param {string} assembly */
function checkTemplate(assembly) {
  const path = join(assembly, 'LibraryEvents.template.json');
  assert.ok(
    readdirSync(assembly).some((file) => /^asset\..*\.zip$/.test(file)),
    'the publisher is deployed as the zip file that it is',
  );
  /** @type {{ Resources: Record<string, { Type: string }> }} */
  const template = JSON.parse(readFileSync(path, 'utf8'));
  const types = Object.values(template.Resources).map((resource) => resource.Type);
  const expected = {
    // Events and feed.
    'AWS::DynamoDB::Table': 2,
    'AWS::SNS::Topic': 1,
    'AWS::Lambda::Function': 1,
  };
  for (const [type, count] of Object.entries(expected)) {
    const found = types.filter((other) => other === type).length;
    assert.equal(found, count, `the template has ${count} of ${type}`);
  }
}

/**
 * @param {string} file
 * @param {unknown} content
 */
function write(file, content) {
  writeFileSync(join(application, file), JSON.stringify(content, undefined, 2));
}

/** @param {string} what */
function step(what) {
  console.log(`- ${what}`);
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {string} workingDirectory
 */
function succeed(command, commandArguments, workingDirectory) {
  const { status, stdout, stderr } = run(command, commandArguments, workingDirectory);
  assert.equal(status, 0, `${command} ${commandArguments.join(' ')}\n${stdout}\n${stderr}`);
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {string} workingDirectory
 * @param {Record<string, string>} variables
 */
function run(command, commandArguments, workingDirectory, variables = {}) {
  return spawnSync(command, commandArguments, {
    cwd: workingDirectory,
    encoding: 'utf8',
    env: { ...process.env, CDK_OUTDIR: join(directory, 'unused'), ...variables },
  });
}
