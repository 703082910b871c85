// What waits for a client, or for pubsub, has a bound; and what waited because
// of it goes on (ARCHITECTURE.md 2, the three flows).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { test } from 'node:test';
import { Channel } from './lib/client.mjs';
import { start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

// Waits until it changes no more.
async function rest(number) {
  for (let last = -1; last !== number(); await delay(700)) last = number();
  return number();
}

// User and system time of a process in ticks of 10 ms; null: it is gone.
function ticks(pid) {
  try {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ');
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return null;
  }
}

test('a client that asks and does not read is not read', async (t) => {
  const server = await start(t);
  const client = await server.connect();
  const topic = 'x'.repeat(50_000);
  const n = 1000; // 50 MB, and as much back
  client.socket.pause();
  const refs = Array.from({ length: n }, () => client.send(null, topic, 'ask'));
  assert.ok((await rest(() => client.socket.bufferedAmount)) > 10_000_000);
  client.socket.resume();
  for (const ref of refs) assert.equal((await client.reply(ref)).status, 'error');
  await client.heartbeat();
});

test('a channel that broadcasts while pubsub stands still waits for it', async (t) => {
  const server = await start(t, { pubsub: 1 });
  const client = await server.connect();
  const channel = await client.join('test:a');
  const [{ pid }] = server.workers('pubsub');
  const payload = { text: 'x'.repeat(20_000) };
  const n = 300;
  process.kill(pid, 'SIGSTOP');
  const replies = [];
  try {
    for (let i = 0; i < n; i++)
      replies.push(channel.call('broadcast', { to: 'test:b', payload }));
    const done = await rest(() => client.frames.length);
    assert.ok(done < n, `${done} of ${n}`);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  for (const reply of await Promise.all(replies)) assert.equal(reply.status, 'ok');
});

test('a channel that its client has left, and that waits for it, goes on', async (t) => {
  // Who has left has that long to end.
  const server = await start(t, { channels: { 'test:*': { shutdown: '60s' } } });
  const client = await server.connect();
  const old = await client.join('test:a');
  const n = 4000;
  client.socket.pause();
  const pushed = old.send('push', { n, size: 3000 });
  await delay(1000);
  const left = old.send('phx_leave');
  const again = new Channel(client, 'test:a');
  await delay(500);
  client.socket.resume();
  assert.equal((await again.joined()).status, 'ok');
  assert.equal((await client.reply(pushed)).status, 'ok');
  assert.equal((await client.reply(left)).status, 'ok');
  await client.event('test:a', 'phx_close');
  assert.equal(client.frames.filter((f) => f[3] === 'item').length, n);
  await again.ok('echo');
  await server.settles({ transport: 1, channel: 1 });
});

test('a connection that ends with a full queue does not spin', async (t) => {
  const server = await start(t, { channels: { 'test:*': { shutdown: '5s' } } });
  const client = await server.connect();
  const busy = await client.join('test:busy', { terminate: { do: 'sleep', ms: 2000 } });
  const other = await client.join('test:other');
  const [{ pid }] = server.workers('transport');
  await other.ok('timer', { ms: 2500 });
  busy.send('do', { do: 'sleep', ms: 4000 });
  for (let i = 0; i < 1100; i++) busy.send('quiet');
  await rest(() => client.socket.bufferedAmount);
  client.socket._socket.resetAndDestroy();
  const first = ticks(pid);
  let last = first;
  await until(() => {
    const now = ticks(pid);
    last = now ?? last;
    return now === null;
  }, 'the end of the transport');
  assert.ok(last - first < 50, `${last - first} ticks in about 4 s`);
});
