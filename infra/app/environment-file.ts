import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv, type ErrorObject } from 'ajv';
import schema from '../../environments/schema.json';

/** Where the settings of the environments are. */
export const ENVIRONMENTS_DIRECTORY = join(__dirname, '..', '..', 'environments');

/** The settings that a file may have, which are those that `-c` takes. */
export const SETTING_NAMES: readonly string[] = Object.keys(schema.properties).filter(
  (name) => name !== '$schema',
);

/** Settings by their names, as the schema allows them. */
export type EnvironmentFile = Readonly<Record<string, unknown>>;

const isValid = new Ajv({ allErrors: true, verbose: true }).compile<EnvironmentFile>(schema);

/**
 * Reads `environments/<environment>.json`.
 *
 * @param environment the environment's name
 * @param directory where the file is
 * @throws with a sentence for each fault if the file is missing or isn't what the schema says
 */
export function readEnvironmentFile(
  environment: string,
  directory: string = ENVIRONMENTS_DIRECTORY,
): EnvironmentFile {
  const file = `environments/${environment}.json`;
  const content = parse(file, join(directory, `${environment}.json`));
  if (!isValid(content)) {
    const faults = (isValid.errors ?? []).map((error) => `${file}: ${sentence(error)}`);
    throw new Error([...new Set(faults)].join('\n'));
  }
  return content;
}

function parse(file: string, path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(
      `${file} can't be read (${(error as NodeJS.ErrnoException).code}). It holds the settings of the ` +
        'environment and belongs into version control; {} stands for all defaults. Its settings: ' +
        'environments/schema.json.',
    );
  }
  try {
    // An editor on Windows may have put a byte order mark in front.
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw new Error(`${file} isn't JSON: ${(error as Error).message}`);
  }
}

function sentence({ keyword, instancePath, params, message, data, parentSchema }: ErrorObject) {
  if (keyword === 'additionalProperties') {
    return `there is no setting '${params['additionalProperty']}'; there are ${SETTING_NAMES.join(', ')}`;
  }
  const where = instancePath === '' ? 'the file' : instancePath.slice(1).replaceAll('/', ' ');
  const allowed = keyword === 'enum' ? `: ${params['allowedValues'].join(', ')}` : '';
  const description = parentSchema?.['description'];
  return `${where} is ${JSON.stringify(data)}, and ${message}${allowed}${description === undefined ? '' : ` (${description})`}`;
}
