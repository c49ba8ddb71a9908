import { defineConfig } from 'vitest/config';

// The settings of the tests are in infra/vitest.config.mts; so they hold from here, too.
export default defineConfig({ test: { projects: ['infra'] } });
