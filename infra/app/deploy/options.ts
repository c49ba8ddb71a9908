import { RISKS, type Risk } from './compare';

/** What the command line asks for. */
export interface DeployOptions {
  /** What may be replaced or weakened. */
  readonly allowed: ReadonlySet<Risk>;

  /** The arguments that synthesis needs: context, profile, app. */
  readonly synthArguments: readonly string[];

  /** The arguments of the deployment of what was synthesised. */
  readonly deployArguments: readonly string[];

  /** The profile of the AWS CLI whose credentials are used. */
  readonly profile: string | undefined;
}

/** The command line is wrong. */
export class UsageError extends Error {}

/** How to call the program. */
export const USAGE = `Synthesises the stack, compares it with what is deployed, and deploys it.

npm run deploy -- -c env=<env> [-c <name>=<value> ...] [--allow <risk>,...] [options of cdk deploy]

What would replace or weaken the deployed stack is refused, unless --allow names it:
${Object.entries(RISKS)
  .map(([risk, what]) => `  ${risk.padEnd(11)} ${what}`)
  .join('\n')}

Exit status: 0 deployed, 1 failed or refused, 2 wrong call.`;

/** Options of the cdk with a value, which decide what is synthesised. */
const OF_SYNTHESIS = new Set(['-c', '--context', '-a', '--app', '--plugin', '-p']);

/** Options of the cdk with a value, which synthesis and deployment both need. */
const OF_BOTH = new Set(['--profile', '--ca-bundle-path', '--proxy']);

/**
 * Reads the command line.
 *
 * @param commandArguments what stands behind the program's name
 * @returns the options, or `help` if that was asked for
 * @throws {UsageError} if `--allow` names something else than a risk, or an option lacks its value
 */
export function readOptions(commandArguments: readonly string[]): DeployOptions | 'help' {
  if (commandArguments.includes('--help') || commandArguments.includes('-h')) {
    return 'help';
  }
  const allowed = new Set<Risk>();
  const synthArguments: string[] = [];
  const deployArguments: string[] = [];
  let profile: string | undefined;

  for (let position = 0; position < commandArguments.length; position += 1) {
    const argument = commandArguments[position] ?? '';
    const [option = '', attached] = argument.startsWith('--')
      ? splitOnce(argument)
      : [argument, undefined];
    const takesValue = option === '--allow' || OF_SYNTHESIS.has(option) || OF_BOTH.has(option);
    if (!takesValue) {
      deployArguments.push(argument);
      continue;
    }
    const value = attached ?? commandArguments[++position];
    if (value === undefined || value === '') {
      throw new UsageError(`${option} needs a value`);
    }
    if (option === '--allow') {
      for (const name of value.split(',')) {
        allowed.add(risk(name.trim()));
      }
      continue;
    }
    synthArguments.push(option, value);
    if (OF_BOTH.has(option)) {
      deployArguments.push(option, value);
    }
    if (option === '--profile') {
      profile = value;
    }
  }
  return { allowed, synthArguments, deployArguments, profile };
}

function splitOnce(argument: string): [string, string | undefined] {
  const equals = argument.indexOf('=');
  return equals < 0
    ? [argument, undefined]
    : [argument.slice(0, equals), argument.slice(equals + 1)];
}

function risk(name: string): Risk {
  if (!Object.hasOwn(RISKS, name)) {
    throw new UsageError(
      `--allow takes ${Object.keys(RISKS).join(', ')} (several separated by commas), and not '${name}'`,
    );
  }
  return name as Risk;
}
