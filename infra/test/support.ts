import { App, type AppProps, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Code } from 'aws-cdk-lib/aws-lambda';
import recommendedFlags from 'aws-cdk-lib/recommended-feature-flags.json';
import { EventDB, type EventDBProps } from '../lib';

/** Stands for the built publisher, so that no test of a template compiles Rust. */
export const BUNDLE = Code.fromInline('unused');
