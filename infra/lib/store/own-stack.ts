import { Stack, type StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

/** Options of the stack that an `EventDB` creates directly under an `App` or a `Stage`. */
export interface OwnStackOptions {
  /**
   * Properties of the stack that the construct creates directly under an `App` or a `Stage`: `env`,
   * `tags`, `stackName`, `description` and so on. They are refused if the construct is inside a
   * stack.
   *
   * @default - termination protection in production, and nothing else
   */
  readonly stackProps?: StackProps;
}

/**
 * The stack for the resources: the one that the scope is in, or else a new one.
 *
 * @returns the scope itself, or the new stack
 */
export function stackFor(
  scope: Construct,
  id: string,
  props: OwnStackOptions & { readonly isProdEnv: boolean },
): Construct {
  if (!scope.node.scopes.some(Stack.isStack)) {
    return new Stack(scope, id, { terminationProtection: props.isProdEnv, ...props.stackProps });
  }
  if (props.stackProps !== undefined) {
    throw new Error(
      `stackProps is given, but '${id}' is inside the stack ${Stack.of(scope).node.path}: ` +
        'pass them to that stack, or create the event store directly under the app',
    );
  }
  return scope;
}
