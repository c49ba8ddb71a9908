import * as cdk from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/**
 * Tells cdk-nag why something that it finds is as it should be.
 *
 * The library has that since 2.252.0; with an older one nothing is said, and cdk-nag reports it.
 *
 * @param scope the construct that it is found at
 * @param id the rule
 * @param reason why it doesn't apply
 */
export function acknowledge(scope: IConstruct, id: string, reason: string): void {
  const { Validations }: Partial<Pick<typeof cdk, 'Validations'>> = cdk;
  Validations?.of(scope).acknowledge({ id, reason });
}
