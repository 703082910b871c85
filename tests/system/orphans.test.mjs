// What is left of a killed transport ends with the supervisor at the latest,
// however deep it lies and whatever state it is in.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { gone } from './lib/procs.mjs';
import { start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

const children = (pid) =>
  fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);

test('a stopped channel of a killed transport, and its stopped task', async (t) => {
  const server = await start(t, { channels: { 'api:*': { module: 'api.so:api' } } });
  const client = await server.connect();
  const channel = await client.join('api:a');
  await channel.ok('tasks', { n: 1, how: 'wait' });
  const [{ pid: transport }] = server.workers('transport');
  const [pid] = children(transport);
  const [task] = await until(() => children(pid)[0] > 0 && children(pid), 'a task');
  for (const each of [task, pid]) process.kill(each, 'SIGSTOP');
  process.kill(transport, 'SIGKILL');
  await gone(transport);
  // Until none of its session is left, nor of the log.
  await server.stop();
  assert.match(server.logText, /stopped/);
});
