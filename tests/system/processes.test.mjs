// What happens when transports, pubsub and the supervisor die, and what is left
// of them: nothing (ARCHITECTURE.md 3 and 4).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from './lib/client.mjs';
import { describe, gone } from './lib/procs.mjs';
import { bySignal, Server, start, temporary } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import fs from 'node:fs';

const quick = { 'test:*': { shutdown: '1s' } };
// For those who have something to say at their end, on a slow machine, too.
const patient = { 'test:*': { shutdown: '60s' } };

// ---- pubsub ----

// All who joined a topic hear of it again. What is broadcast while they are not
// subscribed again may pass them by.
async function broadcastsWork(sender, channels) {
  await until(async () => {
    await sender.ok('broadcast', { event: 'probe' });
    await sender.event('probe');
    return channels.every((channel) => channel.client.rest().some((f) => f[3] === 'probe'));
  }, 'a broadcast that all get');
  await sender.ok('broadcast', { event: 'after', n: 3 });
  for (const channel of [sender, ...channels])
    for (let i = 0; i < 3; i++) assert.deepEqual((await channel.event('after'))[4], { i });
  for (const channel of channels) channel.client.inbox.items.length = 0;
}

for (const signal of ['SIGKILL', 'SIGSEGV', 'SIGABRT', 'SIGTERM'])
  test(`pubsub ends by ${signal}: started again, broadcasts go on`, async (t) => {
    const server = await start(t, { env: bySignal, pubsub: 1 });
    const clients = await Promise.all([1, 2, 3].map(() => server.connect()));
    const channels = await Promise.all(clients.map((client) => client.join('test:a')));
    const [{ pid }] = server.workers('pubsub');
    process.kill(pid, signal);
    await server.log(new RegExp(`bennu_sup: \\w+: pubsub 1\\[${pid}\\] permanent: .*restart 1 of 10 in 10 s`));
    await broadcastsWork(channels[0], channels.slice(1));
    await (await clients[1].join('test:b')).ok('echo');
    await channels[2].leave();
    await channels[2].event('phx_close');
    assert.notEqual(server.workers('pubsub')[0].pid, pid);
    await server.settles({ transport: 3, channel: 3 });
  });

test('pubsub is killed eight times', async (t) => {
  const server = await start(t, { pubsub: 1 });
  const clients = await Promise.all([1, 2].map(() => server.connect()));
  const [mine, other] = await Promise.all(clients.map((client) => client.join('test:a')));
  for (let i = 0; i < 8; i++) {
    const { pid } = await until(() => server.workers('pubsub')[0], 'a pubsub worker');
    process.kill(pid, 'SIGKILL');
    await gone(pid);
    await broadcastsWork(mine, [other]);
  }
  await server.settles({ transport: 2, channel: 2 });
});

test('joins, leaves and broadcasts while pubsub is away', async (t) => {
  const server = await start(t, { pubsub: 1 });
  const client = await server.connect();
  const channel = await client.join('test:a');
  const [{ pid }] = server.workers('pubsub');
  process.kill(pid, 'SIGKILL');
  client.frames.length = 0;
  const broadcast = channel.send('broadcast');
  const joined = client.join('test:b');
  const leave = channel.send('phx_leave');
  await (await joined).ok('echo');
  await channel.event('phx_close');
  assert.deepEqual(
    client.frames.filter((f) => f[2] === 'test:a').map((f) => f[1] ?? f[3]),
    ['news', broadcast, leave, channel.joinRef],
  );
});

test('a join while pubsub is stopped is answered when it goes on', async (t) => {
  const server = await start(t, { pubsub: 1 });
  const client = await server.connect();
  const [{ pid }] = server.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  const joined = client.join('test:a');
  process.kill(pid, 'SIGCONT');
  await (await joined).ok('echo');
});

// ---- transports ----

test('SIGTERM to a transport: 1012, terminate(draining), and its broadcasts leave', async (t) => {
  const server = await start(t, { channels: patient });
  const client = await server.connect();
  const other = await server.connect();
  const channel = await client.join('test:a', { terminate: 'broadcast' });
  const watcher = await other.join('test:a');
  const { transport, channel: pid } = await channel.pids();
  client.frames.length = 0;
  process.kill(transport, 'SIGTERM');
  assert.equal((await client.end()).code, 1012);
  assert.deepEqual(client.frames, []);
  assert.deepEqual((await watcher.event('terminated'))[4], { reason: 'draining' });
  await server.log(new RegExp(`\\[${pid}\\]: terminate draining ''`));
  await gone(transport);
  await watcher.ok('echo');
  await server.settles({ transport: 1, channel: 1 });
});

test('a connection that closes: terminate(closed), and its broadcasts reach others', async (t) => {
  const server = await start(t, { channels: patient });
  const other = await server.connect();
  const watcher = await other.join('test:a');
  for (const how of ['close', 'terminate']) {
    const client = await server.connect();
    const channel = await client.join('test:a', { terminate: 'broadcast' });
    const { channel: pid } = await channel.pids();
    client.socket[how]();
    await client.end();
    assert.deepEqual((await watcher.event('terminated'))[4], { reason: 'closed' });
    await server.log(new RegExp(`\\[${pid}\\]: terminate closed ''`));
  }
  await server.settles({ transport: 1, channel: 1 });
});

test('a busy channel hears of the end when its event is done', async (t) => {
  const server = await start(t, { channels: patient });
  const client = await server.connect();
  const channel = await client.join('test:a');
  const { channel: pid } = await channel.pids();
  channel.send('do', { do: 'sleep', ms: 300 });
  await client.heartbeat();
  client.socket.terminate();
  await server.log(new RegExp(`\\[${pid}\\]: terminate closed ''`));
  await server.settles({});
});

for (const deed of ['hang', 'loop', 'deaf_loop'])
  test(`a channel in ${deed} does not outlive its connection by more than shutdown`, async (t) => {
    const server = await start(t, { channels: quick });
    const client = await server.connect();
    const channel = await client.join('test:a');
    await client.join('test:b', { terminate: { do: deed } });
    channel.send('do', { do: deed });
    await client.heartbeat();
    const began = performance.now();
    client.socket.terminate();
    await server.settles({});
    assert.ok(performance.now() - began >= 900);
    await server.log(/channel_sup: shutdown_error: test:a\[\d+\] transient: killed, did not end in 1000 ms/);
  });

for (const signal of ['SIGKILL', 'SIGSEGV', 'SIGABRT'])
  test(`a transport ends by ${signal}: its client is disconnected, its channels end`, async (t) => {
    const server = await start(t, { channels: quick, env: bySignal });
    const client = await server.connect();
    const other = await server.connect();
    const channel = await client.join('test:a');
    const busy = await client.join('test:b');
    const bystander = await other.join('test:a');
    const { transport } = await channel.pids();
    busy.send('do', { do: 'loop' }); // in C, it reads no mailbox
    await channel.ok('echo');
    process.kill(transport, signal);
    assert.equal((await client.end()).code, 1006);
    const how = { SIGKILL: 'killed', SIGSEGV: 'signal 11', SIGABRT: 'signal 6' }[signal];
    await server.log(new RegExp(`transport_sup: child_terminated: transport\\[${transport}\\] temporary: ${how}.*, #\\d+ 127.0.0.1:\\d+$`));
    await server.settles({ transport: 1, channel: 1 });
    await bystander.ok('echo');
    const again = await server.connect();
    await (await again.join('test:a')).ok('broadcast', { event: 'still' });
    await bystander.event('still');
  });

test('nothing is broadcast to a dead connection for ever', async (t) => {
  const server = await start(t);
  const sender = await server.connect();
  const channel = await sender.join('test:a');
  for (let i = 0; i < 5; i++) {
    const client = await server.connect();
    const { transport } = await (await client.join('test:a')).pids();
    process.kill(transport, 'SIGKILL');
    await client.end();
    await channel.ok('broadcast', { n: 50 });
  }
  await server.settles({ transport: 1, channel: 1 });
});

// ---- the supervisor ----

test('kill -9 of the supervisor: all end, and the next one starts in its directory', async () => {
  const directory = temporary();
  const server = await new Server({ directory, channels: quick }).ready();
  const clients = await Promise.all([1, 2, 3, 4].map(() => server.connect()));
  const channels = await Promise.all(clients.map((client) => client.join('test:a')));
  await channels[0].ok('broadcast');
  await server.kill();
  for (const client of clients) await client.end();
  await server.isGone();
  const again = await new Server({ directory }).ready();
  const channel = await (await again.connect()).join('test:a');
  await channel.ok('broadcast');
  await channel.event('news');
  await again.stop();
  fs.rmSync(directory, { recursive: true });
});

test('kill -9 of supervisor and transport, while a channel loops in C', async () => {
  const server = await new Server({ channels: quick }).ready();
  const client = await server.connect();
  const channel = await client.join('test:a');
  const loop = await client.join('test:b');
  await client.join('test:c', { terminate: { do: 'loop' } });
  const { transport } = await channel.pids();
  loop.send('do', { do: 'loop' });
  await channel.ok('echo');
  process.kill(transport, 'SIGKILL');
  await server.kill();
  await server.isGone();
  server.removeDirectory();
});

test('kill -9 of the supervisor, while channels hang', async () => {
  const server = await new Server({ channels: quick }).ready();
  const client = await server.connect();
  for (const deed of ['loop', 'hang', 'deaf_loop'])
    (await client.join(`test:${deed}`)).send('do', { do: deed });
  await client.heartbeat();
  await server.kill();
  await server.isGone();
  server.removeDirectory();
});

test('SIGTERM: clients get 1012, channels terminate(draining), all ends with 0', async () => {
  const server = await new Server({ channels: patient }).ready();
  const clients = await Promise.all([1, 2, 3].map(() => server.connect()));
  await Promise.all(clients.map((client) => client.join('test:a')));
  const idle = await server.connect(); // without a channel
  for (const client of clients) client.frames.length = 0;
  server.child.kill('SIGTERM');
  for (const client of clients) {
    assert.equal((await client.end()).code, 1012);
    assert.deepEqual(client.frames, []);
  }
  assert.ok([1000, 1001, 1012].includes((await idle.end()).code));
  await server.stop();
  assert.equal(server.count(/terminate draining ''/), 3);
});

for (const signal of ['SIGINT', 'SIGTERM'])
  test(`${signal} ends an idle server with 0`, async () => {
    const server = await new Server().ready();
    server.child.kill(signal);
    await server.stop();
    await assert.rejects(Client.open(server.url()));
  });

test('SIGTERM while channels hang in every way: the end comes within shutdown', async () => {
  const server = await new Server({ channels: quick }).ready();
  const client = await server.connect();
  for (const deed of ['loop', 'hang', 'deaf_loop']) {
    (await client.join(`test:${deed}`)).send('do', { do: deed });
    await client.join(`test:end-${deed}`, { terminate: { do: deed } });
  }
  await client.heartbeat();
  server.child.kill('SIGTERM');
  assert.equal((await client.end()).code, 1012);
  await server.stop();
});

test('SIGTERM while a join hangs', async () => {
  const server = await new Server({ channels: quick }).ready();
  const client = await server.connect();
  client.send('1', 'test:a', 'phx_join', { join: { do: 'loop' } });
  await until(() => server.workers('channel').length === 1, 'the channel');
  server.child.kill('SIGTERM');
  assert.equal((await client.end()).code, 1012);
  await server.stop();
});

test('a stopped transport does not hold up the end', async () => {
  const server = await new Server({ channels: quick, server: { shutdown: '2s' } }).ready();
  const client = await server.connect();
  const { transport } = await (await client.join('test:a')).pids();
  process.kill(transport, 'SIGSTOP');
  server.child.kill('SIGTERM');
  await server.stop();
});

// ---- what the processes look like ----

test('titles, names, the tree', async (t) => {
  const server = await start(t);
  const client = await server.connect();
  const channel = await client.join('test:a');
  await channel.call('do', { do: 'kill' });
  const { channel: pid, transport } = await channel.pids();
  const { localPort } = client.socket._socket;
  const number = /#(\d+)/.exec(describe(transport).title)[1];
  assert.equal(server.workers('pubsub').length, 2);
  const expected = [
    [server.pid, 'supervisor', `bennu: supervisor 127.0.0.1:${server.port}`],
    ...server
      .workers('pubsub')
      .sort((a, b) => a.title.localeCompare(b.title)) // pids may begin anew
      .map((p, i) => [p.pid, 'pubsub', `bennu: pubsub ${i + 1}`]),
    [transport, 'transport', `bennu: transport #${number} 127.0.0.1:${localPort} websocket /socket`],
    [pid, 'channel', `bennu: channel #${number}.1 test:a join_ref="${channel.joinRef}" restarts=1`],
  ];
  for (const [id, comm, title] of expected) {
    const process_ = describe(id);
    assert.deepEqual([process_.comm, process_.title], [comm, title]);
  }
  assert.equal(describe(pid).ppid, transport);
  assert.equal(describe(transport).ppid, server.pid);
  assert.equal(describe(transport).pgrp, transport);
  assert.equal(describe(pid).pgrp, transport);
});

test('a topic of control characters cannot forge a title or a line of the log', async (t) => {
  const server = await start(t);
  const client = await server.connect();
  const channel = await client.join('test:a\n\u001b[31mbennu');
  const { channel: pid } = await channel.pids();
  assert.ok(!/[\n\u001b]/.test(describe(pid).title));
  await channel.call('do', { do: 'kill' });
  await server.log(/channel_sup: child_terminated: test:a\\x0a\\x1b\[31mbennu\[\d+\]/);
});
