// @ts-check
/** Commands of the operators' tool that go on until somebody ends them, ended when they have worked. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { PublishCommand } from '@aws-sdk/client-sns';
import { operatorsTool, serveExplore } from '../operators-tool.mjs';

/** @typedef {import('./commands-of-policies.mjs').Ran} Ran */
/** @typedef {import('@aws-sdk/client-sns').SNSClient} SNSClient */

/**
 * Follows the topic with a queue until an event has come, or it gives up.
 *
 * @param {NodeJS.ProcessEnv} env how the tool finds the store, and with which permissions
 * @param {SNSClient} sns a client that may publish
 * @param {string} TopicArn
 * @returns {Promise<Ran>}
 */
export async function followQueue(env, sns, TopicArn) {
  const child = spawn(operatorsTool(), ['tail', '--follow', '--queue', '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [printed, complaint] = ['', ''];
  const ended = once(child, 'close').then(([status]) => status);
  /** @type {Promise<void>} */
  const follows = new Promise((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (text) => {
      complaint += text;
      if (complaint.includes('following the topic')) {
        resolve();
      }
    });
  });
  const id = `followed-${Date.now()}`;
  /** @type {Promise<void>} */
  const came = new Promise((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      printed += `${line}\n`;
      if (line.includes(id)) {
        resolve();
      }
    });
  });
  if (await Promise.race([follows.then(() => true), ended.then(() => false)])) {
    const time = '2025-01-28T14:30:00.000Z';
    const event = {
      specversion: '1.0',
      id,
      source: 'https://library.example.com',
      type: 'book.lost',
      time,
      data: {},
    };
    const Message = JSON.stringify({
      ...event,
      subject: 'book:1',
      sequence: '1'.padStart(20, '0'),
    });
    await sns.send(new PublishCommand({ TopicArn, Message }));
    await Promise.race([came, ended]);
    child.kill('SIGINT');
  }
  return { status: await ended, printed, complaint };
}

/**
 * What the page asks for to show an event and its subject.
 *
 * @param {string} subject
 * @param {string} id
 */
export function viewsOf(subject, id) {
  const now = Date.now();
  const since = new Date(now - 3_600_000).toISOString();
  return [
    '/api/store',
    '/api/events',
    `/api/rate?since=${since}&until=${new Date(now).toISOString()}&step=60000`,
    '/api/subjects?prefix=book',
    `/api/subject?subject=${subject}`,
    `/api/event?id=${id}&data=true`,
    `/api/caused?id=${id}&within=60`,
  ];
}

/**
 * Opens the page, and asks for these paths. An answer that fails counts as exit status 2.
 *
 * @param {NodeJS.ProcessEnv} env how the tool finds the store, and with which permissions
 * @param {string[]} paths
 * @returns {Promise<Ran>}
 */
export async function explore(env, paths) {
  const served = await serveExplore(env);
  if (served.address === undefined) {
    return { printed: '', ...(await served.close()) };
  }
  const { origin, hash } = new URL(served.address);
  const session = await fetch(`${origin}/api/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token: hash.slice('#token='.length) }),
  });
  const cookie = session.headers.get('set-cookie')?.split(';')[0] ?? '';
  const refused = [];
  for (const path of paths) {
    const answer = await fetch(`${origin}${path}`, { headers: { cookie } });
    const text = await answer.text();
    if (answer.status !== 200) {
      refused.push(`${path}: ${answer.status} ${text}`);
    }
  }
  const { status, complaint } = await served.close();
  return {
    status: refused.length === 0 ? status : 2,
    printed: '',
    complaint: [complaint, ...refused].join('\n'),
  };
}
