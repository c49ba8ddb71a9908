/** Writes the logical ids of every variant to the committed file: `npm run renew:logical-ids`. */
import { existsSync, writeFileSync } from 'node:fs';
import { differences, LOGICAL_IDS_FILE, pinnedLogicalIds, presentLogicalIds } from './logical-ids';

const present = presentLogicalIds();
const pinned = existsSync(LOGICAL_IDS_FILE) ? pinnedLogicalIds() : {};
for (const difference of differences(pinned, present)) {
  console.log(difference);
}
writeFileSync(LOGICAL_IDS_FILE, `${JSON.stringify(present, undefined, 2)}\n`);
