import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type App, Validations } from 'aws-cdk-lib';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { AwsSolutionsChecks } from 'cdk-nag';
import { describe, expect, test } from 'vitest';
import { testApp, testStack } from './support';
import { VARIANTS } from './variants';

/** What cdk-nag has to say, errors and warnings alike; a warning alone doesn't fail a synthesis. */
function findings(app: App): string[] {
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  try {
    app.synth();
  } catch {
    // The report has the reason.
  }
  const report: {
    pluginReports: {
      pluginName: string;
      violations: { ruleName: string; violatingConstructs: { constructPath: string }[] }[];
    }[];
  } = JSON.parse(readFileSync(join(app.outdir, 'validation-report.json'), 'utf8'));
  return report.pluginReports
    .filter((plugin) => plugin.pluginName === 'AwsSolutions')
    .flatMap((plugin) => plugin.violations)
    .flatMap((violation) =>
      violation.violatingConstructs.map((place) => `${violation.ruleName} ${place.constructPath}`),
    );
}

describe('cdk-nag', () => {
  test.each(Object.entries(VARIANTS))('has nothing to say about %s', (name, variant) => {
    const app = testApp();
    variant(app, name);

    expect(findings(app)).toEqual([]);
  });

  test('would say it', () => {
    const app = testApp();
    new Bucket(testStack(app), 'Open');

    expect(findings(app)).toContain('AwsSolutions-S10 TestStack/Open/Resource');
  });
});
