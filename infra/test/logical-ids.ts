import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { EventDB } from '../lib';
import { props, testApp } from './support';
import { VARIANTS } from './variants';

/** The command that renews the file. */
export const RENEW_COMMAND = 'npm run renew:logical-ids';

/** The committed file. */
export const LOGICAL_IDS_FILE = join(__dirname, 'logical-ids.json');

/** The type of each resource of a template, by its logical id. */
export type LogicalIds = Readonly<Record<string, string>>;

/** The logical ids of every variant, by the variant's name. */
export type LogicalIdsByVariant = Readonly<Record<string, LogicalIds>>;

/** What is committed. */
export function pinnedLogicalIds(): LogicalIdsByVariant {
  return JSON.parse(readFileSync(LOGICAL_IDS_FILE, 'utf8'));
}

/** What the constructs make now: the variants, and the construct by itself directly under an app. */
export function presentLogicalIds(): LogicalIdsByVariant {
  const made: Record<string, LogicalIds> = {};
  for (const [name, variant] of Object.entries(VARIANTS)) {
    made[name] = idsOf(variant(testApp(), name));
  }
  for (const isProdEnv of [true, false]) {
    const eventDB = new EventDB(testApp(), 'LibraryEvents', props({ isProdEnv }));
    made[isProdEnv ? 'ConstructUnderApp' : 'ConstructUnderAppDevelopment'] = idsOf(
      Stack.of(eventDB),
    );
  }
  // Without the feature flags of cdk.json, as in an app of somebody else's.
  const plain = new Stack(new App({ analyticsReporting: false }), 'Library');
  new EventDB(plain, 'Events', props({ isProdEnv: true }));
  made['ConstructInStack'] = idsOf(plain);
  return made;
}

function idsOf(stack: Stack): LogicalIds {
  const resources: Record<string, { Type: string }> =
    Template.fromStack(stack).toJSON()['Resources'];
  return Object.fromEntries(
    Object.keys(resources)
      .sort()
      .map((id) => [id, resources[id]?.Type ?? '']),
  );
}

/**
 * What differs, one sentence for each logical id.
 *
 * @param pinned what is committed
 * @param present what is made now
 */
export function differences(pinned: LogicalIdsByVariant, present: LogicalIdsByVariant): string[] {
  const names = [...new Set([...Object.keys(pinned), ...Object.keys(present)])].sort();
  return names.flatMap((name) => {
    const before = pinned[name];
    const now = present[name];
    if (before === undefined) {
      return [`${name}: a new variant, with nothing pinned`];
    }
    if (now === undefined) {
      return [`${name}: the variant is gone`];
    }
    const ids = [...new Set([...Object.keys(before), ...Object.keys(now)])].sort();
    return ids.flatMap((id) => difference(name, id, before[id], now[id]));
  });
}

function difference(
  variant: string,
  id: string,
  before: string | undefined,
  now: string | undefined,
): string[] {
  if (before === now) {
    return [];
  }
  if (before === undefined) {
    return [`${variant}: ${id} (${now}) is new: an update creates it`];
  }
  if (now === undefined) {
    return [
      `${variant}: ${id} (${before}) is gone: an update DELETES it, or abandons it with its data`,
    ];
  }
  return [`${variant}: ${id} was ${before} and is ${now}: CloudFormation refuses such an update`];
}
