// Flow control: what is slow holds up nothing but itself (ARCHITECTURE.md 2:
// three flows, none of which waits for another in a circle).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { CRASHED } from './lib/client.mjs';
import { start } from './lib/server.mjs';
import { frame, takeFrame, TEXT, upgraded } from './lib/wire.mjs';
import { until } from './lib/wait.mjs';

const channels = { 'test:*': { shutdown: '1s', intensity: 100 } };

let gates = 0;
// A file that a channel waits for: { path, open() }.
const gate = (server) => {
  const file = path.join(server.directory, `gate${++gates}`);
  return { path: file, open: () => fs.writeFileSync(file, '') };
};

// A client that speaks by raw frames, so that it can stop reading.
const message = (...parts) => frame(TEXT, JSON.stringify(parts));

async function deafClient(server, topic) {
  const wire = await upgraded(server.port);
  await wire.write(message('1', '1', topic, 'phx_join', {}));
  assert.equal(JSON.parse((await takeFrame(wire)).payload)[4].status, 'ok');
  wire.socket.pause();
  return wire;
}

test('a blocked channel holds up neither heartbeat nor siblings', async (t) => {
  const server = await start(t, { channels });
  const client = await server.connect();
  const { path, open } = gate(server);
  const channel = await client.join('test:a');
  const sibling = await client.join('test:b');
  const blocked = channel.send('do', { do: 'wait_file', path });
  const behind = channel.send('echo', { n: 1 });
  for (let i = 0; i < 5; i++) {
    await client.heartbeat();
    await sibling.ok('echo');
  }
  assert.ok(!client.frames.some((f) => f[1] === blocked));
  open();
  await channel.reply(blocked);
  assert.deepEqual(await channel.reply(behind), { status: 'ok', response: { n: 1 } });
});

test('a full queue stops the reading of its client; room lets it go on', async (t) => {
  const server = await start(t, { channels, server: { queue_max_messages: 4 } });
  const client = await server.connect();
  const other = await server.connect();
  const { path, open } = gate(server);
  const channel = await client.join('test:a');
  client.frames.length = 0;
  const blocked = channel.send('do', { do: 'wait_file', path });
  const refs = [];
  for (let n = 0; n < 40; n++) refs.push(channel.send('echo', { n }));
  const heartbeat = client.send(null, 'phoenix', 'heartbeat');
  await (await other.join('test:a')).ok('echo'); // others are not held up
  open();
  await client.reply(heartbeat);
  await channel.reply(refs.at(-1));
  const order = client.frames.map((f) => f[1]);
  assert.deepEqual(order.filter((ref) => ref !== heartbeat), [blocked, ...refs]);
  // It lay behind more messages than the queue takes.
  assert.ok(order.indexOf(heartbeat) >= 30, order.join());
});

test('bytes count for a queue, too; one message is taken whole', async (t) => {
  const server = await start(t, { channels, server: { queue_max_bytes: '100k' } });
  const client = await server.connect();
  const { path, open } = gate(server);
  const channel = await client.join('test:a');
  const pad = 'x'.repeat(50_000);
  const blocked = channel.send('do', { do: 'wait_file', path });
  const refs = [];
  for (let n = 0; n < 20; n++) refs.push(channel.send('echo', { n, pad }));
  const heartbeat = client.send(null, 'phoenix', 'heartbeat');
  await (await server.connect()).heartbeat();
  open();
  await client.reply(heartbeat);
  await channel.reply(refs.at(-1));
  const order = client.frames.map((f) => f[1]).filter((ref) => ref !== channel.joinRef);
  assert.deepEqual(order.filter((ref) => ref !== heartbeat), [blocked, ...refs]);
  assert.ok(order.indexOf(heartbeat) >= 15, order.join());
  assert.equal((await channel.ok('echo', { pad: 'x'.repeat(1_000_000) })).pad.length, 1_000_000);
});

test('queues_max_bytes: all queues of a client together, though none is full', async (t) => {
  const server = await start(t, {
    channels,
    server: { queue_max_bytes: '1M', queues_max_bytes: '100k' },
  });
  const client = await server.connect();
  const { path, open } = gate(server);
  const topics = await Promise.all(['test:a', 'test:b', 'test:c'].map((topic) => client.join(topic)));
  for (const channel of topics) channel.send('do', { do: 'wait_file', path });
  const pad = 'x'.repeat(20_000);
  const last = [];
  for (let n = 0; n < 10; n++)
    for (const channel of topics) last[n] = [channel, channel.send('echo', { pad })];
  const heartbeat = client.send(null, 'phoenix', 'heartbeat');
  await (await server.connect()).heartbeat();
  open();
  await client.reply(heartbeat);
  for (const [channel, ref] of last) await channel.reply(ref);
  const order = client.frames.map((f) => f[1]);
  // It lay behind 600 kB.
  assert.ok(order.indexOf(heartbeat) >= 20, order.join());
});

test('a client is not idle while its channel makes it wait', async (t) => {
  const server = await start(t, {
    channels,
    server: { queue_max_messages: 2 },
    socket: { idle_timeout: '4s' }, // enough for a busy machine until it waits
  });
  const client = await server.connect();
  const channel = await client.join('test:a');
  channel.send('do', { do: 'sleep', ms: 6000 });
  const refs = [1, 2, 3, 4, 5].map((n) => channel.send('echo', { n }));
  await channel.reply(refs.at(-1));
});

for (const deed of ['hang', 'loop', 'deaf_loop'])
  test(`a channel in ${deed} whose queue stays full is killed, and goes on`, async (t) => {
    const server = await start(t, {
      channels,
      // Its successor, whose queue is full as well, must not take that long.
      server: { queue_max_messages: 3, hung_timeout: '3s' },
    });
    const client = await server.connect();
    const channel = await client.join('test:a');
    const { channel: pid } = await channel.pids();
    const began = performance.now();
    const fatal = channel.send('do', { do: deed });
    const refs = [1, 2, 3, 4, 5, 6].map((n) => channel.send('echo', { n }));
    assert.deepEqual(await channel.reply(fatal), CRASHED);
    assert.ok(performance.now() - began >= 2900);
    for (const ref of refs) assert.equal((await channel.reply(ref)).status, 'ok');
    await server.log(new RegExp(`channel test:a\\[${pid}\\]: its queue stays full \\(hung_timeout\\); killed`));
    await server.log(new RegExp(`test:a\\[${pid}\\] transient: killed, restart 1`));
  });

test('a client that takes nothing is closed after send_timeout', async (t) => {
  const server = await start(t, { channels, server: { send_timeout: '1s' } });
  const wire = await deafClient(server, 'test:a');
  await wire.write(message('1', '2', 'test:a', 'push', { n: 300, size: 100_000 }));
  await server.log(/the client takes nothing for 1000 ms \(send_timeout\)/);
  await server.settles({});
  wire.close();
});

test('a channel waits for its slow client, without dying or filling memory', async (t) => {
  const server = await start(t, { channels, server: { send_timeout: '60s', hung_timeout: '1s' } });
  const wire = await deafClient(server, 'test:a');
  const n = 300;
  await wire.write(message('1', '2', 'test:a', 'push', { n, size: 100_000 }));
  const transport = server.workers('transport')[0].pid;
  const memory = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${transport}/status`, 'utf8'))[1]);
  const other = await server.connect();
  const bystander = await other.join('test:b');
  // Longer than hung_timeout: it is the client that is slow.
  await bystander.ok('timer', { ms: 1500, event: 'later' });
  await bystander.event('later');
  if (process.env.BENNU_ASAN !== '1') assert.ok(memory() < 20_000, `${memory()} kB`);
  wire.socket.resume();
  for (let i = 0; i < n; i++) assert.equal(JSON.parse((await takeFrame(wire)).payload)[4].i, i);
  assert.equal(JSON.parse((await takeFrame(wire)).payload)[1], '2');
  wire.close();
});

// Broadcasts until the log says what becomes of the slow client.
async function broadcastUntil(server, channel, pattern) {
  const payload = { pad: 'x'.repeat(60_000) };
  let line = null;
  const found = server.log(pattern).then((match) => {
    line = match;
  });
  while (line === null) {
    await channel.ok('broadcast', { n: 10, payload });
    await Promise.race([found, channel.client.heartbeat()]);
  }
  return line;
}

test('backlog_policy close: a slow client is disconnected, others get everything', async (t) => {
  const server = await start(t, {
    channels,
    server: { backlog_max: '200k', backlog_policy: 'close', send_timeout: '60s' },
  });
  const wire = await deafClient(server, 'test:a');
  const client = await server.connect();
  const channel = await client.join('test:a');
  await broadcastUntil(server, channel, /closed: .* is full \(backlog_policy = close\)/);
  await server.settles({ transport: 1, channel: 1 });
  const sent = client.frames.filter((f) => f[3] === 'phx_reply' && f[2] === 'test:a').length - 1;
  assert.equal(client.frames.filter((f) => f[3] === 'news').length, 10 * sent);
  wire.close();
});

test('backlog_policy drop: a slow client loses broadcasts, and stays', async (t) => {
  const server = await start(t, {
    channels,
    server: { backlog_max: '200k', backlog_policy: 'drop', send_timeout: '60s' },
  });
  const wire = await deafClient(server, 'test:a');
  const client = await server.connect();
  const channel = await client.join('test:a');
  await broadcastUntil(server, channel, /broadcasts are dropped: .* is full/);
  wire.socket.resume();
  await wire.write(message(null, 'h', 'phoenix', 'heartbeat', {}));
  let seen = 0;
  const next = async () => JSON.parse((await takeFrame(wire)).payload);
  for (let f = await next(); f[1] !== 'h'; f = await next()) seen += f[3] === 'news';
  assert.ok(seen > 0 && seen < client.frames.filter((f) => f[3] === 'news').length);
  await until(async () => {
    await channel.ok('broadcast', { event: 'again' });
    return wire.data.includes('"again"');
  }, 'a broadcast after the drop');
  await server.settles({ transport: 2, channel: 2 });
  wire.close();
});

test('a client that does not read while channels subscribe and others broadcast', async (t) => {
  const server = await start(t, { channels, server: { send_timeout: '1s' } });
  const wire = await deafClient(server, 'test:a');
  const client = await server.connect();
  const channel = await client.join('test:b');
  await wire.write(message('1', '2', 'test:a', 'subscribe', { topic: 'news', n: 3 }));
  await wire.write(message('1', '3', 'test:a', 'push', { n: 200, size: 100_000 }));
  for (let i = 0; i < 20; i++) await channel.ok('broadcast', { to: 'news', n: 20 });
  await server.log(/closed: .*(send_timeout|backlog_policy)/);
  await server.settles({ transport: 1, channel: 1 });
  wire.close();
});

for (const size of [1000, 65_000, 65_536, 70_000, 1_000_000, 7_900_000, 9_000_000])
  test(`${size} bytes to a channel and back, and to others`, async (t) => {
    const server = await start(t, { channels });
    const client = await server.connect();
    const other = await server.connect();
    const channel = await client.join('test:a');
    const listener = await other.join('test:a');
    const pad = 'y'.repeat(size);
    const began = client.send(null, 'phoenix', 'heartbeat');
    assert.equal((await channel.ok('echo', { pad })).pad, pad);
    await client.reply(began);
    await channel.ok('broadcast', { payload: { pad } });
    assert.equal((await listener.event('news'))[4].pad, pad);
    assert.equal((await channel.event('news'))[4].pad, pad);
  });

test('a join with params of 1 MB, and its restart', async (t) => {
  const server = await start(t, { channels });
  const client = await server.connect();
  const pad = 'z'.repeat(1_000_000);
  const channel = await client.join('test:a', { pad, response: { pad } });
  await channel.call('do', { do: 'kill' });
  assert.equal((await channel.about()).params.pad, pad);
});

test('thousands of messages at once, in order, with a crash in the middle', async (t) => {
  const server = await start(t, { channels });
  const client = await server.connect();
  const channel = await client.join('test:a');
  client.frames.length = 0;
  const refs = [];
  for (let n = 0; n < 3000; n++)
    refs.push(n === 1500 ? channel.send('do', { do: 'kill' }) : channel.send('echo', { n }));
  await channel.reply(refs.at(-1));
  assert.deepEqual(client.frames.map((f) => f[1]), refs);
  assert.equal(client.frames.filter((f) => f[4].status !== 'ok').length, 1);
});
