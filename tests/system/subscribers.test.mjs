// How many are subscribed to a topic, on all pubsub workers.
import assert from 'node:assert/strict';
import os from 'node:os';
import { after, test } from 'node:test';
import { start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

const channels = { 'api:*': { module: 'api.so:api' }, 'test:*': {} };
const server = await start({ after }, {
  pubsub: 3, channels, endpoint: { module: 'endpoint.so:plain' },
});

async function members(t, n, topic, to = server) {
  const all = [];
  for (let i = 0; i < n; i++) {
    const client = await to.connect();
    t.after(() => client.close());
    all.push(await client.join(topic));
  }
  return all;
}

const ask = async (channel, topic) => (await channel.ok('subscribers', { topic })).n;

test('channels of all workers, as they join and leave', async (t) => {
  const [asking] = await members(t, 1, 'api:asks');
  assert.equal(await ask(asking, 'test:many'), 0);
  assert.equal(await ask(asking, 'api:asks'), 1);
  const all = await members(t, 7, 'test:many');
  assert.equal(await ask(asking, 'test:many'), 7);
  assert.equal(await ask(asking, 'test:man'), 0);
  await all[0].leave();
  assert.equal(await ask(asking, 'test:many'), 6);
  await all[1].client.close();
  await until(async () => (await ask(asking, 'test:many')) === 5, 'the end of one');
});

test('a channel that crashes is on its topic all the time', async (t) => {
  const [asking] = await members(t, 1, 'api:crash');
  asking.send('crash');
  assert.equal(await ask(asking, 'api:crash'), 1);
});

test('who subscribes without joining counts, once for its connection', async (t) => {
  const [one, two] = await members(t, 2, 'api:extra');
  const again = await one.client.join('api:another');
  for (const channel of [one, one, again, two]) await channel.ok('subscribe', { topic: 'news' });
  await until(async () => (await ask(two, 'news')) === 2, 'both');
  await one.ok('unsubscribe', { topic: 'news' });
  await two.ok('unsubscribe', { topic: 'news' });
  await until(async () => (await ask(one, 'news')) === 1, 'the other channel');
});

test('an HTTP handler asks', async (t) => {
  await members(t, 3, 'test:http');
  const response = await fetch(`http://127.0.0.1:${server.port}/subscribers/test:http`);
  assert.equal(await response.text(), '3');
});

test('many ask at once', async (t) => {
  const all = await members(t, 6, 'api:all');
  const answers = all.flatMap((channel) => Array.from({ length: 10 }, () => ask(channel, 'api:all')));
  assert.deepEqual(await Promise.all(answers), Array(60).fill(6));
});

test('a worker that does not answer: EAGAIN in time, and its client is served', async (t) => {
  const own = await start(t, { channels, pubsub: 2 });
  const [asking] = await members(t, 1, 'api:asks', own);
  const workers = own.workers('pubsub');
  for (const { pid } of workers) process.kill(pid, 'SIGSTOP');
  const answer = asking.call('subscribers', { topic: 'api:asks' });
  await asking.client.heartbeat();
  assert.deepEqual(await answer, { status: 'error', response: { errno: os.constants.errno.EAGAIN } });
  for (const { pid } of workers) process.kill(pid, 'SIGCONT');
  assert.equal(await ask(asking, 'api:asks'), 1);
});

test('a worker that dies over the question: the next one is asked', async (t) => {
  const own = await start(t, { channels, pubsub: 2 });
  const [asking] = await members(t, 1, 'api:asks', own);
  await members(t, 1, 'test:a', own);
  const [{ pid }] = own.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  const ref = asking.send('subscribers', { topic: 'test:nobody' });
  await asking.client.heartbeat();
  process.kill(pid, 'SIGKILL');
  assert.deepEqual((await asking.reply(ref)).response, { n: 0 });
  await until(async () => (await ask(asking, 'test:a')) === 1, 'that it is told anew');
});
