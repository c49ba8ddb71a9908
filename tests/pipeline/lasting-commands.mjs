// @ts-check
/** Commands of the operators' tool that go on until somebody ends them, ended when they have worked. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { PublishCommand } from '@aws-sdk/client-sns';
import { operatorsTool } from '../operators-tool.mjs';
import { TABLE_LAYOUT } from './emulator/pipeline.mjs';

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
 * Opens the page, and asks for what it shows of an event and its subject.
 *
 * @param {NodeJS.ProcessEnv} env how the tool finds the store, and with which permissions
 * @param {string} subject
 * @param {string} id
 * @returns {Promise<Ran>}
 */
export async function explore(env, subject, id) {
  const child = spawn(operatorsTool(), ['explore', '--port', '0', '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text;
  });
  const ended = once(child, 'close').then(([status]) => status);
  const lines = createInterface({ input: child.stdout });
  const opened = await Promise.race([once(lines, 'line'), ended.then(() => undefined)]);
  if (opened === undefined) {
    return { status: await ended, printed: '', complaint };
  }
  const { origin, hash } = new URL(JSON.parse(opened[0]).address);
  const session = await fetch(`${origin}/api/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token: hash.slice('#token='.length) }),
  });
  const cookie = session.headers.get('set-cookie')?.split(';')[0] ?? '';
  const since = new Date(Date.now() - 3_600_000).toISOString();
  let status = 0;
  for (const path of [
    '/api/store',
    '/api/events',
    `/api/rate?since=${since}&until=${new Date().toISOString()}&step=60000`,
    ...(TABLE_LAYOUT === 'byTime' ? [] : ['/api/subjects?prefix=book']),
    `/api/subject?subject=${subject}`,
    `/api/event?id=${id}`,
    `/api/caused?id=${id}&within=60`,
  ]) {
    const answer = await fetch(`${origin}${path}`, { headers: { cookie } });
    const text = await answer.text();
    if (answer.status !== 200) {
      status = 2;
      complaint += `${path}: ${answer.status} ${text}\n`;
    }
  }
  child.kill('SIGINT');
  await ended;
  return { status, printed: '', complaint };
}
