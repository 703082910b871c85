// What the channel API offers beyond push and reply: interception, acknowledged
// pushes, tasks; and V1 clients beside V2 ones.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import WebSocket from 'ws';
import { Client } from './lib/client.mjs';
import { gone } from './lib/procs.mjs';
import { start } from './lib/server.mjs';
import { Inbox, until, within } from './lib/wait.mjs';

const server = await start({ after }, {
  channels: {
    'api:*': { module: 'api.so:api', intensity: 100, period: '10s', limit_nofile: 200 },
    'strict:*': { module: 'api.so:api', restart: 'temporary' },
  },
});

let topics = 0;
const unique = (prefix = 'api') => `${prefix}:${++topics}`;
const socket = async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  return client;
};
const call = (channel, event, payload = {}) =>
  channel.client.reply(
    channel.client.send(channel.joinRef, channel.topic, event, payload),
  );
const ok = { status: 'ok', response: {} };

test('an intercepted broadcast reaches each member as a push of its own', async (t) => {
  const topic = unique();
  const [a, b] = [await socket(t), await socket(t)];
  const [mine, theirs] = [await a.join(topic), await b.join(topic)];
  assert.deepEqual(await call(mine, 'shout', { n: 1 }), ok);
  for (const channel of [mine, theirs])
    assert.deepEqual(
      await channel.client.event(topic, 'heard'),
      [channel.joinRef, null, topic, 'heard', { n: 1 }],
    );
  await a.heartbeat();
  assert.ok(!a.frames.some((f) => f[3] === 'shout'));
});

test('handle_out may keep a broadcast from its client; broadcast_from leaves out the sender', async (t) => {
  const topic = unique();
  const [a, b] = [await socket(t), await socket(t)];
  const mine = await a.join(topic);
  await b.join(topic);
  await call(mine, 'shout', { secret: true });
  await call(mine, 'shout_from', { n: 2 });
  await call(mine, 'shout', { n: 3 });
  assert.deepEqual((await b.event(topic, 'heard'))[4], { n: 2 });
  assert.deepEqual((await b.event(topic, 'heard'))[4], { n: 3 });
  assert.deepEqual((await a.event(topic, 'heard'))[4], { n: 3 });
});

test('a crash in handle_out costs that broadcast only; what waits behind it is delivered', async (t) => {
  const topic = unique();
  const client = await socket(t);
  const channel = await client.join(topic);
  client.send(channel.joinRef, topic, 'shout', { crash: true });
  client.send(channel.joinRef, topic, 'shout', { n: 4 });
  assert.deepEqual((await client.event(topic, 'heard'))[4], { n: 4 });
  assert.deepEqual(await call(channel, 'echo', { still: 1 }), {
    status: 'ok',
    response: { still: 1 },
  });
});

test('an acknowledged push is known by its id, once', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  const want = { id: 'one', timeout: 60000, policy: 'crash' };
  client.send(channel.joinRef, channel.topic, 'push_acked', want);
  assert.deepEqual((await client.event(channel.topic, 'important'))[4], { id: 'one' });
  assert.equal((await call(channel, 'ack', { id: 'two' })).status, 'error');
  assert.equal((await call(channel, 'ack', { id: 'one' })).status, 'ok');
  assert.equal((await call(channel, 'ack', { id: 'one' })).status, 'error');
});

// Joins, has two pushes wait and acknowledges one of them. Null when that came
// too late, since the machine is slow: then the other one's time was over.
async function acknowledgeOne(client, timeout) {
  const channel = await client.join(unique('strict'));
  for (const id of ['lost', 'found'])
    client.send(channel.joinRef, channel.topic, 'push_acked', { id, timeout, policy: 'crash' });
  const ref = client.send(channel.joinRef, channel.topic, 'ack', { id: 'found' });
  await client.event(channel.topic, 'important');
  const frame = await client.take(
    (f) => f[2] === channel.topic && (f[1] === ref || f[3] === 'phx_error'),
    'an answer, or the crash',
  );
  return frame[3] === 'phx_reply' && frame[4].status === 'ok' ? channel : null;
}

test('without its acknowledgment the channel crashes, also when another one came', async (t) => {
  const client = await socket(t);
  let channel = null;
  for (let timeout = 300; channel === null && timeout < 10_000; timeout *= 3)
    channel = await acknowledgeOne(client, timeout);
  assert.notEqual(channel, null, 'an acknowledgment is taken');
  assert.deepEqual(await client.event(channel.topic, 'phx_error'), [
    channel.joinRef, channel.joinRef, channel.topic, 'phx_error', { reason: 'channel_crash' },
  ]);
  await server.log(/no acknowledgment received for message lost/);
});

test('or the connection is closed, or there is a line in the log, as it says', async (t) => {
  const client = await server.connect();
  const channel = await client.join(unique());
  client.send(channel.joinRef, channel.topic, 'push_acked', { id: 'noted', timeout: 1, policy: 'log' });
  await server.log(/no acknowledgment received for message noted/);
  assert.equal((await call(channel, 'echo')).status, 'ok');
  client.send(channel.joinRef, channel.topic, 'push_acked', { id: 'fatal', timeout: 1, policy: 'close' });
  assert.equal((await client.end()).code, 1008);
});

test('a channel may close its connection', async () => {
  const client = await server.connect();
  const channel = await client.join(unique());
  client.send(channel.joinRef, channel.topic, 'close');
  assert.equal((await client.end()).code, 1008);
});

test('tasks run beside the channel, and tell what came of them', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  assert.deepEqual((await call(channel, 'tasks', { n: 10, how: 'work' })).response, { started: 10 });
  for (let i = 0; i < 10; i++)
    assert.deepEqual((await client.event(channel.topic, 'task_done'))[4], { worked: true });
  await call(channel, 'tasks', { n: 1, how: 'large' });
  assert.equal((await client.event(channel.topic, 'task_done'))[4].length, 3 << 20);
  await call(channel, 'tasks', { n: 1, how: 'die' });
  assert.deepEqual((await client.event(channel.topic, 'task_done'))[4], { error: 'killed' });
  assert.equal((await call(channel, 'echo')).status, 'ok');
});

test('tasks are in the tree, may be killed, are limited, and end with their channel', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  assert.deepEqual((await call(channel, 'tasks', { n: 70, how: 'wait' })).response, { started: 64 });
  const named = (p) => `${p.title} `.includes(` ${channel.topic} `);
  const tasks = () => server.workers('task').filter(named);
  await until(() => tasks().length === 64, '64 tasks by their titles');
  const pids = tasks().map((p) => p.pid);
  assert.equal((await call(channel, 'echo')).status, 'ok', 'the channel is free meanwhile');
  process.kill(pids.pop(), 'SIGKILL');
  assert.deepEqual((await client.event(channel.topic, 'task_done'))[4], { error: 'killed' });
  const [worker] = server.workers('channel').filter(named);
  process.kill(worker.pid, 'SIGKILL');
  for (const pid of pids) await gone(pid);
  assert.equal((await call(channel, 'echo')).status, 'ok');
});

test('presences, and broadcasts to this node and others', async (t) => {
  const of = (name) => ({ module: `api.so:${name}` });
  const other = await start(t, {
    channels: {
      'notifications:*': of('notifications'), tracked: of('tracked'), node: of('node'),
    },
  });
  const client = await other.connect();
  t.after(() => client.close());
  const lobby = await client.join('notifications:lobby');
  const { user_name: name } = (await lobby.event('user_info'))[4];
  assert.match(name, /^notifications:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const state = (await lobby.event('presence_state'))[4];
  assert.deepEqual(Object.keys(state), [name]);
  assert.match(state[name].metas[0].online_at, /^\d+$/);
  assert.deepEqual((await lobby.event('presence_diff'))[4], { joins: state, leaves: {} });
  lobby.send('notify_direct', { recipient: name, body: 'x' });
  assert.equal((await lobby.event('notification'))[4].body, 'x');
  const tracked = await client.join('tracked');
  const { metas: [{ phx_ref: ref, ...meta }] } = await tracked.ok('track', { in: 'cart' });
  assert.deepEqual(meta, { in: 'cart' });
  assert.equal((await tracked.ok('track', {})).metas[0].phx_ref_prev, ref);
  const others = [];
  for (let i = 0; i < 2; i++) { // on both pubsub workers
    const member = await other.connect();
    t.after(() => member.close());
    others.push(await member.join('node'));
  }
  const node = await client.join('node');
  const reply = await node.call('send', { n: 1 });
  assert.equal(reply.status, 'error');
  assert.match(reply.response.reason, /host/i);
  assert.deepEqual((await node.event('subscribers'))[4], { n: 3 });
  assert.deepEqual((await node.event('local'))[4], { n: 1 });
  assert.match((await node.event('direct'))[4].from_node, /^bennu@./);
  for (const member of others) {
    await member.event('direct');
    await member.client.heartbeat();
    assert.deepEqual(member.client.frames.filter(([, , topic]) => topic === 'node').map((f) => f[3]),
      ['phx_reply', 'local', 'direct']);
  }
});

test('V1 and V2 clients share a topic', async (t) => {
  const topic = unique();
  const v2 = await socket(t);
  const channel = await v2.join(topic);
  const inbox = new Inbox();
  const v1 = new WebSocket(server.url('vsn=1.0.0'));
  t.after(() => v1.terminate());
  v1.on('message', (data) => inbox.add(JSON.parse(data)));
  await within(new Promise((resolve) => v1.once('open', resolve)), () => 'V1');
  const next = (event) => inbox.take((m) => m.event === event, event);
  const send = (event, ref, payload = {}) =>
    v1.send(JSON.stringify({ payload, extra: [1], ref, event, topic }));

  send('phx_join', '1');
  assert.deepEqual(await next('phx_reply'), {
    topic, event: 'phx_reply', ref: '1', payload: { status: 'ok', response: {} },
  });
  await call(channel, 'shout', { to: 'all' });
  assert.deepEqual(await next('heard'), { topic, event: 'heard', payload: { to: 'all' }, ref: null });
  send('echo', 7, { big: 1 });
  assert.deepEqual(await next('phx_reply'), {
    topic, event: 'phx_reply', ref: 7, payload: { status: 'ok', response: { big: 1 } },
  });
  send('phx_leave', '3');
  assert.equal((await next('phx_reply')).ref, '3');
  assert.deepEqual(await next('phx_close'), { topic, event: 'phx_close', payload: {}, ref: null });
  const closed = new Promise((resolve) => v1.once('close', resolve));
  v1.send(JSON.stringify({ topic, event: 'x', payload: {} })); // no ref
  assert.equal(await within(closed, () => 'the close'), 1011);
});

for (const [vsn, served] of [
  ['', true], ['vsn=1.0.9', true], ['vsn=2.0.1', true], ['vsn=2.0.10', true],
  ['vsn=1.1.0', false], ['vsn=2.1.0', false], ['vsn=2', false], ['vsn=2.0', false],
  ['vsn=', false], ['vsn=abc', false], ['vsn[]=2.0.0', false], ['vsn=2.0.0x', false], ['vsn=2.0.00', false],
])
  test(`"${vsn}" is ${served ? 'served' : 'refused with 403'}`, async () => {
    const ws = new WebSocket(server.url(vsn));
    const status = await within(
      new Promise((resolve) => {
        ws.once('open', () => resolve(101));
        ws.once('unexpected-response', (_, response) => resolve(response.statusCode));
        ws.on('error', () => {});
      }),
      () => 'an answer',
    );
    ws.terminate();
    assert.equal(status, served ? 101 : 403);
  });
