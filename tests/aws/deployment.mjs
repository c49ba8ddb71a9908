// @ts-check
/** Deploys the stacks of `app.ts`. */
import { resolve } from 'node:path';
import { cdkFor } from '../pipeline/emulator/pipeline.mjs';

const APP = 'node --import tsx tests/aws/app.ts';

/** @typedef {Record<string, string>} StackOutputs */

/**
 * @typedef {object} Stacks the outputs of each
 * @property {StackOutputs} store
 * @property {StackOutputs} encrypted
 * @property {StackOutputs} all
 * @property {StackOutputs} filtered
 * @property {StackOutputs} encryptedAll
 */

/**
 * @typedef {object} Deployment
 * @property {() => Promise<Stacks>} deploy
 * @property {() => Promise<void>} update deploys the stores with another version of the function
 * @property {() => Promise<void>} destroy
 * @property {() => void} discard the files that cdk wrote
 */

/**
 * @param {import('./account.mjs').Account} account
 * @param {string} prefix
 * @param {import('./options.mjs').TableLayout} tableLayout
 * @param {AbortSignal} signal
 * @returns {Deployment}
 */
export function deploymentIn(account, prefix, tableLayout, signal) {
  const { id, region, environment, isEmulated } = account;
  const cdk = cdkFor({ environment }, { account: id, region, signal, isQuiet: true });
  const code = process.env['EVENTDB_CODE'];
  const common = { prefix, emulated: String(isEmulated) };
  const stores = (/** @type {string} */ version) => ({
    ...common,
    part: 'stores',
    tableLayout,
    version,
    ...(code === undefined ? {} : { code: resolve(code) }),
  });
  let subscribers = {};
  return {
    deploy: async () => {
      const made = await cdk.deploy(APP, stores('1'));
      const outputs = (/** @type {string} */ name) => outputsOf(made, `${prefix}-${name}`);
      subscribers = {
        ...common,
        part: 'subscribers',
        topicArn: value(outputs('Store'), 'TopicArn'),
        encryptedTopicArn: value(outputs('Encrypted'), 'TopicArn'),
      };
      Object.assign(made, await cdk.deploy(APP, subscribers));
      return {
        store: outputs('Store'),
        encrypted: outputs('Encrypted'),
        all: outputs('All'),
        filtered: outputs('Filtered'),
        encryptedAll: outputs('EncryptedAll'),
      };
    },
    update: async () => {
      await cdk.deploy(APP, stores('2'));
    },
    destroy: async () => {
      await cdk.destroy(APP, subscribers);
      await cdk.destroy(APP, stores('2'));
    },
    discard: cdk.discard,
  };
}

/**
 * @param {import('../pipeline/emulator/pipeline.mjs').Outputs} outputs
 * @param {string} stack
 */
function outputsOf(outputs, stack) {
  const found = outputs[stack];
  if (found === undefined) {
    throw new Error(`cdk deploy has not put out anything for the stack ${stack}`);
  }
  return found;
}

/**
 * @param {StackOutputs} outputs
 * @param {string} name
 * @returns {string}
 */
export function value(outputs, name) {
  const found = outputs[name];
  if (found === undefined) {
    throw new Error(`the stack has no output ${name}, only ${Object.keys(outputs).join(', ')}`);
  }
  return found;
}
