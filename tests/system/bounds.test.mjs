// What a client, a channel or a process that stands still may use up has a
// bound, and who reaches it hears of it: nothing is lost in silence.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Channel, CRASHED } from './lib/client.mjs';
import { gone, stopped } from './lib/procs.mjs';
import { Server, start, temporary } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

const channels = { 'test:*': { shutdown: '1s', intensity: 100 } };

const events = (client, event) => client.frames.filter((f) => f[3] === event);

// ---- pubsub ----

test('kill -9 of pubsub, and a broadcast at once: all others get it, once', async (t) => {
  const server = await start(t);
  const clients = await Promise.all(Array.from({ length: 61 }, () => server.connect()));
  const [sender, ...others] = await Promise.all(clients.map((client) => client.join('test:a')));
  const rounds = 10;
  for (let i = 0; i < rounds; i++) {
    const [{ pid }] = server.workers('pubsub');
    process.kill(pid, 'SIGKILL');
    const sent = sender.ok('broadcast', { event: `round${i}` });
    await Promise.all(others.map((other) => other.event(`round${i}`)));
    await sent;
    await gone(pid);
  }
  // Whatever came twice has come before this.
  await sender.ok('broadcast', { event: 'last' });
  await Promise.all(others.map((other) => other.event('last')));
  for (const client of clients)
    for (let i = 0; i < rounds; i++)
      assert.equal(events(client, `round${i}`).length, 1, `round ${i}`);
});

// A transport and its client stand still until pubsub lets go of them. { server, client: its
// client, sender, sent: broadcasts, go() }.
async function letGo(t, policy) {
  const server = await start(t, {
    channels,
    server: { backlog_max: '100k', backlog_policy: policy },
  });
  const client = await server.connect();
  const stopped = await client.join('test:a');
  const { transport } = await stopped.pids();
  const sender = await (await server.connect()).join('test:a');
  const payload = { pad: 'x'.repeat(50_000) };
  let over = false;
  const found = server.log(/transport #\d+ does not take what it gets: .* let go/).then(() => {
    over = true;
  });
  let sent = 0;
  // Nor does its client take what pubsub writes straight to it.
  client.socket.pause();
  process.kill(transport, 'SIGSTOP');
  try {
    for (; !over; sent++) {
      await sender.ok('broadcast', { payload });
      await Promise.race([found, sender.client.heartbeat()]);
    }
  } finally {
    process.kill(transport, 'SIGCONT');
    client.socket.resume();
  }
  return { server, client, stopped, sender, sent };
}

test('a transport that stood still, backlog_policy close: its client is disconnected', async (t) => {
  const { server, client, sender, sent } = await letGo(t, 'close');
  assert.ok(sent * 50_000 >= 800_000, `${sent}`);
  await server.log(/transport #\d+.*: closed: (what waited at pubsub|the client's backlog) is full/);
  await client.end();
  assert.ok(events(client, 'news').length < sent);
  assert.equal(events(sender.client, 'news').length, sent);
  await server.settles({ transport: 1, channel: 1 });
});

test('a transport that stood still, backlog_policy drop: the log tells, it goes on', async (t) => {
  const { server, client, stopped, sender, sent } = await letGo(t, 'drop');
  await server.log(/transport #\d+.*: broadcasts are dropped: (what waited at pubsub|the client's backlog) is full/);
  await stopped.ok('echo');
  await until(async () => {
    await sender.ok('broadcast', { event: 'after' });
    return events(client, 'after').length > 0;
  }, 'a broadcast after the gap');
  assert.ok(events(client, 'news').length < sent);
});

// ---- descriptors of pubsub ----

const FILES = 80;
const few = { pubsub: 1, wrap: ['prlimit', `--nofile=${FILES}:${FILES}`] };

const join = async (server) => (await server.connect()).join('test:a');

// Everybody gets all of some broadcasts of the first one, once and in order.
async function hearAll(all, round) {
  const [sender] = all;
  const told = Array.from({ length: 10 }, (_, i) => `round ${round}: ${i}`);
  for (const what of told) await sender.ok('broadcast', { payload: { what } });
  for (const { client } of all) {
    await until(() => events(client, 'news').length >= told.length, 'all broadcasts');
    assert.deepEqual(events(client, 'news').map((f) => f[4].what), told);
    client.frames.length = 0;
  }
}

test('more connections than lanes fit: all are served, also behind a kill of pubsub', async (t) => {
  const server = await start(t, few);
  const files = () => {
    const [{ pid }] = server.workers('pubsub');
    return fs.readdirSync(`/proc/${pid}/fd`).length;
  };
  const all = [await join(server)];
  const each = 2; // its mailbox and its client
  const spare = 16;
  const first = files();
  // Too many for two descriptors each, and not for one.
  const n = Math.floor((FILES - spare - first) * 0.8);
  assert.ok(n * each > FILES - first, `${first}`);
  for (let i = 0; i < n; i++) all.push(await join(server));
  await hearAll(all, 1);
  assert.ok(files() <= FILES - spare);
  const [{ pid }] = server.workers('pubsub');
  process.kill(pid, 'SIGKILL');
  await gone(pid);
  await hearAll(all, 2);
  // Those that had a lane may have to give it to others who come.
  await Promise.all(all.splice(1, n / 2).map(({ client }) => client.close()));
  for (let i = 0; i < n / 2; i++) all.push(await join(server));
  await hearAll(all, 3);
  assert.equal(server.count(/descriptors are short/), 2, 'once for each worker');
  assert.equal(server.count(/Too many open files|nonsense|bad .* envelope/), 0);
});

test('more connections than a worker can have: they wait, the log tells once, others go', async (t) => {
  const server = await start(t, few);
  const all = [];
  const clients = await Promise.all(Array.from({ length: FILES }, () => server.connect()));
  const joins = clients.map(async (client) => all.push(await client.join('test:a')));
  await server.log(/accept: who connects waits until others are gone: Too many open files/);
  // Who came when nobody waits any more could be one too many again.
  await until(() => {
    const lines = fs.readFileSync('/proc/net/unix', 'latin1').split('\n');
    return lines.filter((line) => line.endsWith(`${server.run}/pubsub-1.sock`)).length >= 1 + FILES; // and the listener
  }, 'all at pubsub');
  await until(() => all.length > 0, 'the first');
  await hearAll(all.slice(0, 1), 1);
  // One after the other goes; with each there is room for another.
  let left = 0;
  while (left < FILES) {
    await until(() => all.length > left, () => `${all.length} have joined, ${left} have left`);
    await all[left++].client.close();
  }
  await Promise.all(joins);
  assert.equal(server.count(/who connects waits/), 1);
});

// ---- channels that do not end ----

test('join, hang, leave and join again: bounded, killed, and each leave is answered', async (t) => {
  // Long enough for all these joins on a machine that is busy.
  const hanging = { 'test:*': { ...channels['test:*'], shutdown: '8s' } };
  const server = await start(t, { channels: hanging, socket: { max_channels: 2 } });
  const client = await server.connect();
  const leaves = [];
  let refused = null;
  for (let i = 0; i < 30 && refused === null; i++) {
    const channel = new Channel(client, 'test:a');
    const answer = await channel.joined();
    if (answer.status !== 'ok') {
      refused = { answer, after: i };
      break;
    }
    for (let n = 0; n < 3; n++) channel.send('do', { do: 'hang' });
    leaves.push([channel, channel.send('phx_leave')]);
    assert.ok(server.workers('channel').length <= 18);
  }
  assert.deepEqual(refused, {
    answer: { status: 'error', response: { reason: 'too many channels joined' } },
    after: 18,
  });
  // The last one still has its place: it hangs until another takes that.
  const answered = async ([channel, leave]) => {
    assert.deepEqual(await channel.reply(leave), { status: 'ok', response: {} });
    await client.take((f) => f[3] === 'phx_close' && f[0] === channel.joinRef, 'phx_close');
    await server.log(/channel test:a\[\d+\]: it does not end \(shutdown\); killed/);
  };
  for (const left of leaves.slice(0, -1)) await answered(left);
  const again = await client.join('test:a');
  await answered(leaves.at(-1));
  await again.ok('echo');
  await server.settles({ transport: 1, channel: 1 });
});

test('a channel that says that it stops, and stays, is killed after shutdown', async (t) => {
  const server = await start(t, { channels });
  const client = await server.connect();
  const channel = await client.join('test:a');
  const { channel: pid } = await channel.pids();
  const began = performance.now();
  const fatal = channel.send('do', { do: 'stop_and_stay' });
  await server.log(new RegExp(`channel test:a\\[${pid}\\]: it does not end \\(shutdown\\); killed`));
  assert.ok(performance.now() - began >= 900);
  await gone(pid);
  assert.deepEqual(await channel.reply(fatal), CRASHED);
  assert.equal((await channel.about()).restarts, 1);
});

for (const how of ['terminate', 'reset'])
  test(`a client that vanishes (${how}) while its join hangs`, async (t) => {
    const server = await start(t, { channels });
    const client = await server.connect();
    new Channel(client, 'test:a', { join: { do: 'hang' } });
    await server.settles({ transport: 1, channel: 1 });
    if (how === 'reset') client.socket._socket.resetAndDestroy();
    else client.socket.terminate();
    const began = performance.now();
    await server.settles({});
    assert.ok(performance.now() - began < 8000);
  });

test('a stopped channel whose transport is killed -9 ends', async (t) => {
  const server = await start(t, { channels });
  const client = await server.connect();
  const channel = await client.join('test:a');
  const sibling = await client.join('test:b');
  const { channel: pid, transport } = await channel.pids();
  process.kill(pid, 'SIGSTOP');
  await stopped(pid);
  await sibling.ok('echo');
  process.kill(transport, 'SIGKILL');
  await gone(pid);
  await server.settles({});
});

test('a channel that works slowly through a full queue is not hung', async (t) => {
  const server = await start(t, {
    channels,
    server: { queue_max_messages: 3, hung_timeout: '3s' },
  });
  const client = await server.connect();
  const channel = await client.join('test:a');
  // Its queue is full for longer than that, but not with the same messages.
  const refs = Array.from({ length: 14 }, () => channel.send('do', { do: 'sleep', ms: 500 }));
  for (const ref of refs) assert.equal((await channel.reply(ref)).status, 'ok');
  assert.equal((await channel.about()).restarts, 0);
});

// ---- what a channel may keep ----

for (const [what, event, payload, words] of [
  ['10,001 kept messages', 'do', { do: 'keep_many', n: 10_001 }, 'keeps 10000 messages, that is too many'],
  ['1,001 subscriptions', 'subscribe', { topic: 'news', n: 1001 }, 'subscribes more than 1000 times'],
])
  test(`${what}: that channel dies, its transport lives`, async (t) => {
    const server = await start(t, { channels });
    const client = await server.connect();
    const sibling = await client.join('test:b');
    const channel = await client.join('test:a');
    const { channel: pid, transport } = await channel.pids();
    assert.deepEqual(await channel.call(event, payload), CRASHED);
    await server.log(new RegExp(`channel test:a ${words}`));
    await server.log(new RegExp(`channel test:a\\[${pid}\\]: it sent nonsense; killed`));
    const about = await channel.about();
    assert.equal(about.restarts, 1);
    assert.equal(about.ppid, transport);
    assert.equal((await sibling.about()).restarts, 0);
    // All that the old one had is forgotten.
    await channel.ok('do', { do: 'keep_many', n: 10_000 });
    await channel.ok('subscribe', { topic: 'news', n: 1000 });
    assert.equal((await channel.about()).restarts, 1);
  });

test('messages that were kept without a ref get no answer when the channel crashes', async (t) => {
  const server = await start(t, { channels });
  const client = await server.connect();
  const channel = await client.join('test:a');
  client.frames.length = 0;
  for (let i = 0; i < 3; i++) client.frame([channel.joinRef, null, 'test:a', 'keep', {}]);
  const kept = channel.send('keep');
  const fatal = channel.send('do', { do: 'kill' });
  const last = channel.send('echo');
  await channel.reply(last);
  assert.deepEqual(client.frames.map((f) => f[1]), [fatal, kept, last]);
});

test('params beyond queues_max_bytes, of one join and of all', async (t) => {
  const server = await start(t, {
    channels,
    server: { queue_max_bytes: '100k', queues_max_bytes: '200k' },
  });
  const client = await server.connect();
  const refused = { status: 'error', response: { reason: 'params too large' } };
  const join = (topic, size) => new Channel(client, topic, { pad: 'x'.repeat(size) }).joined();
  assert.deepEqual(await join('test:huge', 210_000), refused);
  const first = await client.join('test:1', { pad: 'x'.repeat(90_000) });
  await client.join('test:2', { pad: 'x'.repeat(90_000) });
  assert.deepEqual(await join('test:3', 90_000), refused);
  await (await client.join('test:small')).ok('echo');
  await first.leave();
  await first.event('phx_close');
  assert.equal((await join('test:3', 90_000)).status, 'ok');
});

for (const where of ['event', 'topic'])
  test(`text that is no UTF-8 in the ${where} of a broadcast is its own end only`, async (t) => {
    const server = await start(t, { channels });
    const client = await server.connect();
    const other = await server.connect();
    const listener = await other.join('test:a');
    const channel = await client.join('test:a');
    const { channel: pid } = await channel.pids();
    assert.deepEqual(await channel.call('do', { do: 'bad_text', where }), CRASHED);
    await server.log(new RegExp(`channel_sup: child_terminated: test:a\\[${pid}\\]`));
    await channel.ok('broadcast', { event: 'alive' });
    await listener.event('alive');
    await listener.ok('echo');
    assert.deepEqual(other.frames.map((f) => f[3]), ['phx_reply', 'alive', 'phx_reply']);
  });

test('text that is no UTF-8 in a push does not close its client', async (t) => {
  const server = await start(t, { channels });
  const client = await server.connect();
  const channel = await client.join('test:a');
  await channel.ok('do', { do: 'bad_text', where: 'push' });
  await channel.event('\ufffd');
  assert.equal((await channel.about()).restarts, 0);
});

// ---- the run directory ----

const ownDirectory = (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
};

const everything = {
  endpoint: { tree: 'true' },
  socket: { module: 'connect.so:user_socket' },
};

test('an orderly end leaves no run directory', async (t) => {
  const directory = ownDirectory(t);
  const server = await new Server({ directory, ...everything }).ready();
  assert.deepEqual(fs.readdirSync(server.run).sort(), [
    'address', 'bus-1-2.ipc', 'bus-2-1.ipc', 'connect.sock', 'lock', 'presence.sock',
    'pubsub-1.sock', 'pubsub-2.sock', 'tap-1.ipc', 'tap-2.ipc', 'token',
  ]);
  await server.stop();
  assert.deepEqual(fs.readdirSync(directory), ['bennu.conf']);
});

test('a run directory that was there stays, empty; also behind one that was killed', async (t) => {
  const directory = ownDirectory(t);
  const run = path.join(directory, 'run');
  const killed = await new Server({ directory, ...everything }).ready();
  await killed.kill();
  await killed.isGone();
  assert.ok(fs.existsSync(path.join(run, 'lock')));
  const server = await new Server({ directory, ...everything }).ready();
  await server.stop();
  assert.deepEqual(fs.readdirSync(run), []);
});

test('one server after the other in the same directory, without a pause', async (t) => {
  const directory = ownDirectory(t);
  for (let i = 0; i < 10; i++) {
    const server = await new Server({ directory }).ready();
    const next = new Server({ directory });
    await next.log(/another supervisor runs in/);
    await next.ends(11);
    await server.stop();
  }
  assert.ok(!fs.existsSync(path.join(directory, 'run')));
});
