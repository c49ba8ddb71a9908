import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CloudFormationClient, GetTemplateCommand } from '@aws-sdk/client-cloudformation';
import { compare, type Finding, RISKS, type Template } from './compare';
import { type DeployOptions, readOptions, USAGE, UsageError } from './options';

/** What the command needs of the world. */
export interface World {
  /** Runs the cdk and tells its exit status. */
  readonly cdk: (commandArguments: readonly string[]) => number;

  /** A client for the region (that of the environment, if undefined) and the profile. */
  readonly cloudFormation: (
    region: string | undefined,
    profile: string | undefined,
  ) => CloudFormationClient;

  /** An empty directory to synthesise into. */
  readonly directory: string;

  /** Tells the user. */
  readonly report: (line: string) => void;
}

/** A stack that was synthesised. */
interface Stack {
  readonly name: string;
  readonly region: string | undefined;
  readonly template: Template;
}

/**
 * Deploys what is synthesised, unless that would replace or weaken what is deployed.
 *
 * @returns the exit status
 */
export async function run(commandArguments: readonly string[], world: World): Promise<number> {
  let options: DeployOptions | 'help';
  try {
    options = readOptions(commandArguments);
  } catch (error) {
    if (error instanceof UsageError) {
      world.report(`${error.message}\n\n${USAGE}`);
      return 2;
    }
    throw error;
  }
  if (options === 'help') {
    world.report(USAGE);
    return 0;
  }

  const { allowed, synthArguments, deployArguments, profile } = options;
  const synthesised = world.cdk([
    'synth',
    '--quiet',
    ...synthArguments,
    '--output',
    world.directory,
  ]);
  if (synthesised !== 0) {
    return 1;
  }

  let isRefused = false;
  for (const stack of stacksIn(world.directory)) {
    let deployed: Template | undefined;
    try {
      deployed = await deployedTemplate(world.cloudFormation(stack.region, profile), stack.name);
    } catch (error) {
      world.report(
        `The stack ${stack.name} can't be compared with what is deployed, so nothing is deployed: ` +
          `${(error as Error).message}. Needed are credentials with cloudformation:GetTemplate and a ` +
          'region (AWS_PROFILE, AWS_REGION, or --profile).',
      );
      return 1;
    }
    if (deployed === undefined) {
      world.report(`${stack.name}: not deployed yet`);
      continue;
    }
    const findings = compare(deployed, stack.template);
    for (const finding of findings) {
      world.report(line(stack.name, finding, allowed.has(finding.risk)));
    }
    const refused = [...new Set(findings.map(({ risk }) => risk))].filter(
      (risk) => !allowed.has(risk),
    );
    if (refused.length > 0) {
      isRefused = true;
      world.report(
        `${stack.name}: nothing is deployed, for the update would replace or weaken what is there. ` +
          'Is a setting missing that the deployed stack has? It belongs into environments/<env>.json. ' +
          `If it is meant: --allow ${refused.join(',')}`,
      );
    }
  }
  if (isRefused) {
    return 1;
  }
  // What was compared is what is deployed; nothing is synthesised a second time.
  return world.cdk(['deploy', '--app', world.directory, ...deployArguments]) === 0 ? 0 : 1;
}

function line(stack: string, { risk, resource, what }: Finding, isAllowed: boolean): string {
  return `${stack}: ${isAllowed ? 'allowed' : 'REFUSED'} (${risk}: ${RISKS[risk]}): ${resource}: ${what}`;
}

/** The stacks of the assembly, nested assemblies (of stages) included. */
function stacksIn(directory: string): Stack[] {
  const manifest: {
    artifacts?: Record<
      string,
      {
        type: string;
        environment?: string;
        properties?: { templateFile?: string; stackName?: string; directoryName?: string };
      }
    >;
  } = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'));
  return Object.entries(manifest.artifacts ?? {}).flatMap(([id, artifact]) => {
    const { templateFile, stackName, directoryName } = artifact.properties ?? {};
    if (artifact.type === 'cdk:cloud-assembly' && directoryName !== undefined) {
      return stacksIn(join(directory, directoryName));
    }
    if (artifact.type !== 'aws:cloudformation:stack' || templateFile === undefined) {
      return [];
    }
    // aws://<account>/<region>, where each may be unknown-...
    const region = artifact.environment?.split('/').at(-1);
    return [
      {
        name: stackName ?? id,
        region: region?.startsWith('unknown-') === true ? undefined : region,
        template: JSON.parse(readFileSync(join(directory, templateFile), 'utf8')),
      },
    ];
  });
}

/** The template of the stack as it was deployed; nothing if there is no such stack. */
async function deployedTemplate(
  client: CloudFormationClient,
  name: string,
): Promise<Template | undefined> {
  try {
    const { TemplateBody: body } = await client.send(
      new GetTemplateCommand({ StackName: name, TemplateStage: 'Original' }),
    );
    // A stack whose creation is only reviewed yet has no template.
    return body === undefined || body === '' ? undefined : JSON.parse(body);
  } catch (error) {
    if (error instanceof Error && /does not exist/.test(error.message)) {
      return undefined;
    }
    throw error;
  }
}
