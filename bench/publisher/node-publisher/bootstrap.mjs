// The least that runs a handler against the Runtime API. Lambda's own runtime for Node.js does
// more, so the figures of Node.js are rather too good than too bad.

import http from 'node:http';
import { handler } from './handler.mjs';

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true });

const request = (method, path, body) =>
  new Promise((resolve, reject) => {
    const outgoing = http.request(
      { host, port, method, agent, path: `/2018-06-01/runtime/invocation/${path}` },
      (incoming) => {
        const chunks = [];
        incoming.on('data', (chunk) => chunks.push(chunk));
        incoming.on('end', () =>
          resolve({ headers: incoming.headers, body: Buffer.concat(chunks) }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });

for (;;) {
  const { headers, body } = await request('GET', 'next');
  const answer = await handler(JSON.parse(body));
  await request(
    'POST',
    `${headers['lambda-runtime-aws-request-id']}/response`,
    JSON.stringify(answer),
  );
}
