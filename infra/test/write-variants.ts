/**
 * Writes the template of every variant, for cfn-lint: `tsx test/write-variants.ts <directory>`.
 * Synthesis runs the library's own CloudFormation validator on them too.
 */
import { App } from 'aws-cdk-lib';
import { deployedFlags } from './support';
import { VARIANTS } from './variants';

const [directory] = process.argv.slice(2);
if (directory === undefined) {
  throw new Error('Give the directory to write to');
}
const app = new App({ context: deployedFlags(), outdir: directory, analyticsReporting: false });
for (const [name, variant] of Object.entries(VARIANTS)) {
  variant(app, name);
}
const { stacks } = app.synth();
console.log(`${stacks.length} templates in ${directory}`);
