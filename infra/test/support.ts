import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Code } from 'aws-cdk-lib/aws-lambda';
import { EventDB, type EventDBProps } from '../lib';

/** The top of the repository. */
export const REPOSITORY = join(__dirname, '..', '..');

/** Stands for the built publisher, so that no test of a template compiles Rust. */
export const BUNDLE_DIRECTORY = join(__dirname, 'bundle');

/** The feature flags that the command line deploys with; `new App()` doesn't read cdk.json. */
export function deployedFlags(): Record<string, unknown> {
  return JSON.parse(readFileSync(join(REPOSITORY, 'cdk.json'), 'utf8')).context;
}

/** An app as the command line runs it, but for its arguments. */
export function testApp(context: Record<string, unknown> = {}): App {
  return new App({ context: { ...deployedFlags(), ...context }, analyticsReporting: false });
}

/** A stack in a separate app. */
export function testStack(app: App = testApp()): Stack {
  return new Stack(app, 'TestStack');
}

/** Properties that every test can start from: no environment but production is meant. */
export function props(own: Partial<EventDBProps> = {}): EventDBProps {
  return { isProdEnv: false, code: Code.fromAsset(BUNDLE_DIRECTORY), ...own };
}

/** An event store in a stack, and the stack's template. */
export function synthesize(own: Partial<EventDBProps> = {}): {
  eventDB: EventDB;
  stack: Stack;
  template: Template;
} {
  const stack = testStack();
  const eventDB = new EventDB(stack, 'Events', props(own));
  return { eventDB, stack, template: Template.fromStack(stack) };
}

/** The one resource of the type, whose logical id (less its hash) matches. */
export function only(template: Template, type: string, idPart = ''): Resource {
  const found = Object.entries(template.findResources(type)).filter(([id]) =>
    new RegExp(idPart).test(id.replace(/[0-9A-F]{8}$/, '')),
  );
  const [first] = found;
  if (first === undefined || found.length > 1) {
    throw new Error(`${found.length} resources ${type} ${idPart}: ${found.map(([id]) => id)}`);
  }
  return { id: first[0], ...first[1] };
}

/** A resource of a template. */
export interface Resource {
  readonly id: string;
  // biome-ignore lint/suspicious/noExplicitAny: the shape depends on the type of the resource
  readonly Properties?: any;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
  readonly DependsOn?: readonly string[];
}

/** A statement of a policy in a template. */
export interface Statement {
  readonly Sid?: string;
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource?: unknown;
  readonly Principal?: unknown;
  readonly Condition?: unknown;
}

/** Actions of statements, sorted, each once. */
export function actionsOf(statements: readonly Statement[]): string[] {
  const all = statements.flatMap(({ Action: action }) => action);
  return [...new Set(all)].sort();
}

/** The statements of all policies that are attached to the role with this logical id. */
export function statementsOfRole(template: Template, roleIdPart: string): Statement[] {
  const role = only(template, 'AWS::IAM::Role', roleIdPart);
  // biome-ignore lint/suspicious/noExplicitAny: policies of a template
  const inline = (role.Properties.Policies ?? []).map((policy: any) => policy.PolicyDocument);
  const attached = Object.values(template.findResources('AWS::IAM::Policy'))
    .filter(({ Properties: properties }) =>
      // biome-ignore lint/suspicious/noExplicitAny: references of a template
      properties.Roles.some((reference: any) => reference.Ref === role.id),
    )
    .map(({ Properties: properties }) => properties.PolicyDocument);
  return [...inline, ...attached].flatMap((document) => document.Statement);
}
