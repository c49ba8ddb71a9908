import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Synthesising is bound by the processor; more workers only take memory from other builds.
    maxWorkers: 2,
    env: {
      // The library's own CloudFormation validator costs seconds per synth; the checks of the
      // synthesised templates (npm run lint:templates) run with it.
      CDK_VALIDATION: 'false',
    },
    testTimeout: 60_000,
  },
});
