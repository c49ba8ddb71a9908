// @ts-check
import { appendPolicy } from './append-policy.mjs';
import { capacity } from './capacity.mjs';
import { destroy } from './destroy.mjs';
import { encryptedStore } from './encrypted-store.mjs';
import { latency } from './latency.mjs';
import { order } from './order.mjs';
import { poisonRecord } from './poison-record.mjs';
import { publishingStopped } from './publishing-stopped.mjs';
import { redrive } from './redrive.mjs';
import { subscription } from './subscription.mjs';
import { update } from './update.mjs';

/** In the order in which they run. @type {readonly import('../run-checks.mjs').Check[]} */
export const CHECKS = [
  appendPolicy,
  subscription,
  order,
  encryptedStore,
  latency,
  capacity,
  poisonRecord,
  redrive,
  publishingStopped,
  update,
  destroy,
];
