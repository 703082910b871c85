// A channel that goes wild costs itself and nobody else: it is killed and
// started again, its transport and its siblings live on (ARCHITECTURE.md 2,
// rule 5).
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { CRASHED } from './lib/client.mjs';
import { descriptors, gone, stopped } from './lib/procs.mjs';
import { bySignal, start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

const server = await start({ after }, {
  channels: { 'test:*': { intensity: 1000, period: '60s', shutdown: '1s' } },
  env: bySignal,
});

const socket = async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  return client;
};

// How many descriptors a transport has: none may stay behind. It is not
// dumpable, so that only root can count them.
const count = (pid) => (process.getuid() === 0 ? Object.keys(descriptors(pid)).length : 0);

const NONSENSE = 'it sent nonsense; killed';

// What it does, and how the log calls it before it is killed.
const deeds = [
  ['garbage', 'bad envelope type \\d+; killed'],
  [{ do: 'wrong_type', type: 77777 }, 'bad envelope type 77777; killed'],
  ['too_large', 'envelope of 4294967295 bytes; killed'],
  ['bad_field', NONSENSE],
  ['extra_bytes', NONSENSE],
  ['bad_broadcast', NONSENSE],
  [{ do: 'bad_broadcast', kind: 77, payload: '{}' }, NONSENSE],
  [{ do: 'bad_broadcast', payload: '{} {}' }, NONSENSE],
  [{ do: 'bad_broadcast', payload: '' }, NONSENSE],
  ['joined_again', NONSENSE],
  ['done_twice', NONSENSE],
  ['reply_to_nothing', NONSENSE],
  ['sleep_without_wake', NONSENSE],
  ['forget_nothing', NONSENSE],
  ['from_transport', NONSENSE],
  ['bad_stop', NONSENSE],
  [{ do: 'track', bytes: true }, NONSENSE],
  [{ do: 'track', ref: '0123456789abcde' }, NONSENSE],
  [{ do: 'track', ref: '0123456789abcde"' }, NONSENSE],
  [{ do: 'track', prev: 'abcdef0123456789' }, NONSENSE],
  [{ do: 'track', prev: '' }, NONSENSE],
  [{ do: 'track', meta: '[]' }, NONSENSE],
  [{ do: 'track', meta: '{' }, NONSENSE],
  [{ do: 'track', meta: '{ }' }, NONSENSE],
  ['untrack', NONSENSE],
  ['presences', NONSENSE],
  ['sign', NONSENSE],
  ['verify', NONSENSE],
  ['no_memfd', 'no memfd with its envelope; killed'],
  ['unsealed_memfd', 'bad memfd; killed'],
  ['short_memfd', 'bad memfd; killed'],
  ['pipe_as_memfd', 'bad memfd; killed'],
  ['descriptors', '(too many descriptors|descriptors did not fit); killed'],
  ['write_everywhere', 'bad envelope type \\d+; killed'],
  ['close', null],
  ['shutdown', null],
  ['close_everything', null],
];

for (const [n, [deed, words]] of deeds.entries()) {
  const payload = typeof deed === 'string' ? { do: deed } : deed;
  const topic = `test:wild-${n}`; // nothing of the deed before comes to this one
  test(`${JSON.stringify(deed)}: killed, started again, nobody else hears of it`, async (t) => {
    const client = await socket(t);
    const other = await socket(t);
    const sibling = await client.join('test:sibling');
    const bystander = await other.join(topic);
    const channel = await client.join(topic);
    const { channel: pid, transport } = await channel.pids();
    const before = count(transport);
    client.frames.length = 0;
    const fatal = channel.send('do', payload);
    if (words !== null)
      await server.log(new RegExp(`transport #.*: channel ${topic}\\[${pid}\\]: ${words}$`));
    await server.log(new RegExp(`channel_sup: child_terminated: ${topic}\\[${pid}\\] transient: killed, restart 1`));
    assert.equal((await channel.about()).restarts, 1);
    if (payload.do !== 'done_twice')
      assert.deepEqual(client.frames.find((f) => f[1] === fatal)?.[4], CRASHED);
    assert.ok(client.frames.every((f) => f[3] === 'phx_reply'), JSON.stringify(client.frames));
    await sibling.ok('echo');
    await bystander.ok('echo');
    await channel.ok('broadcast', { event: 'alive' });
    await bystander.event('alive');
    assert.ok(!other.frames.some((f) => f[3] === 'evil'));
    assert.equal((await sibling.about()).restarts, 0);
    await until(() => count(transport) === before, () => JSON.stringify(descriptors(transport)));
  });
}

test('an envelope that is cut off by the end of its channel', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:cut');
  channel.send('do', { do: 'truncated' }); // ends by exit(0)
  await channel.event('phx_close');
  await client.heartbeat();
});

test('descriptors sent again and again do not stay in the transport', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:many');
  const { transport } = await channel.pids();
  const before = count(transport);
  for (let i = 0; i < 20; i++) {
    assert.deepEqual(await channel.call('do', { do: 'descriptors' }), CRASHED);
    await channel.ok('echo');
  }
  await until(() => count(transport) === before, () => JSON.stringify(descriptors(transport)));
});

test('a push that never ends does not stop heartbeats, siblings, the kill', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:flood');
  const sibling = await client.join('test:sibling');
  const { channel: pid } = await channel.pids();
  client.socket.on('message', () => {
    client.frames.length = 0; // too many to keep
    client.inbox.items.length = 0;
  });
  channel.send('do', { do: 'flood' });
  await channel.event('flood');
  for (let i = 0; i < 3; i++) {
    await client.heartbeat();
    await sibling.ok('echo');
  }
  process.kill(pid, 'SIGKILL');
  await channel.ok('echo');
});

test('a child of a channel that holds the mailbox open does not hide its death', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:fork');
  const { channel: pid } = await channel.pids();
  await channel.ok('do', { do: 'fork' });
  const { pid: child } = (await channel.event('forked'))[4];
  assert.deepEqual(await channel.call('do', { do: 'kill' }), CRASHED);
  await channel.ok('echo');
  await gone(pid);
  await channel.ok('do', { do: 'fork' });
  const { pid: second } = (await channel.event('forked'))[4];
  await channel.leave();
  await channel.event('phx_close');
  // They are orphans: the end of the server would end them.
  for (const orphan of [child, second]) {
    process.kill(orphan, 'SIGKILL');
    await gone(orphan); // the supervisor reaps it
  }
});

test('orphans that are left end with the server', async (t) => {
  const own = await start(t, {});
  const client = await own.connect();
  const channel = await client.join('test:fork');
  await channel.ok('do', { do: 'fork' });
  await channel.event('forked');
  await channel.call('do', { do: 'kill' });
  await channel.ok('echo');
  // start() looks that nothing is left.
});

for (const [deed, code] of [
  [{ do: 'kill_parent', signal: 9 }, 1006],
  [{ do: 'kill_parent', signal: 11 }, 1006],
  [{ do: 'kill_parent', signal: 15 }, 1012],
  [{ do: 'kill_group' }, 1006],
])
  test(`${JSON.stringify(deed)} costs this connection, no other`, async (t) => {
    const other = await socket(t);
    const bystander = await other.join('test:a');
    const client = await server.connect();
    const channel = await client.join('test:a');
    await client.join('test:b');
    const { transport, channel: pid } = await channel.pids();
    channel.send('do', deed);
    assert.equal((await client.end()).code, code);
    await gone(transport);
    await gone(pid);
    await bystander.ok('echo');
    await (await (await socket(t)).join('test:a')).ok('broadcast', { event: 'still' });
    await bystander.event('still');
  });

test('a transport that its channel has stopped does not hold up broadcasts', async (t) => {
  const other = await socket(t);
  const bystander = await other.join('test:a');
  const client = await server.connect();
  const channel = await client.join('test:a');
  const { transport } = await channel.pids();
  channel.send('do', { do: 'kill_parent', signal: 19 });
  await stopped(transport);
  await (await other.join('test:b')).ok('broadcast', { to: 'test:a', n: 200 });
  for (let i = 0; i < 200; i++) await bystander.event('news');
  process.kill(transport, 'SIGKILL');
  await client.end();
  await bystander.ok('echo');
});

test('one key tracked twice', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:track');
  const { channel: pid } = await channel.pids();
  channel.send('do', { do: 'track', twice: true });
  await server.log(new RegExp(`channel test:track\\[${pid}\\]: ${NONSENSE}$`));
  const [, , , , diff] = await channel.event('presence_diff');
  assert.deepEqual(diff, { joins: { key: { metas: [{ phx_ref: '0123456789abcdef' }] } }, leaves: {} });
  assert.deepEqual((await channel.event('presence_diff'))[4], { joins: {}, leaves: diff.joins });
  assert.equal((await channel.about()).restarts, 1);
});

test('many questions whose answers nobody reads', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:ask');
  const { transport } = await channel.pids();
  const before = count(transport);
  await channel.ok('do', { do: 'ask_much', n: 3000 });
  await channel.ok('echo');
  await until(() => count(transport) <= before + 1, 'that no descriptor stays behind');
  assert.equal(server.workers('presence').length, 1);
});

test('lists that nobody waits for, while presence is stopped', async (t) => {
  const own = await start(t);
  const client = await own.connect();
  t.after(() => client.close());
  const [wild, sibling] = [await client.join('test:wild'), await client.join('test:sibling')];
  const { transport } = await sibling.pids();
  const before = count(transport);
  const [{ pid }] = own.workers('presence');
  process.kill(pid, 'SIGSTOP');
  await wild.ok('do', { do: 'ask_much', n: 5000 });
  await sibling.ok('echo');
  assert.ok(count(transport) <= before + 300, `${count(transport)} descriptors`);
  process.kill(pid, 'SIGCONT');
  await until(() => count(transport) <= before + 1, 'that no descriptor stays behind');
  assert.equal((await sibling.pids()).transport, transport);
});

test('a meta that no journal can take', async (t) => {
  const own = await start(t, { env: bySignal, server: { journal_size: '64000' } });
  const client = await own.connect();
  t.after(() => client.close());
  const channel = await client.join('test:wild');
  const meta = JSON.stringify({ text: 'x'.repeat(8000) });
  channel.send('do', { do: 'track', meta });
  await own.log(new RegExp(`channel test:wild\\[\\d+\\]: ${NONSENSE}$`));
  assert.equal(own.count(/PS_PUBLISH/), 0);
});

test('tokens that nobody waits for, over what is no socket', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:ask');
  const { transport } = await channel.pids();
  const before = count(transport);
  await channel.ok('do', { do: 'sign_much', n: 1000 });
  await channel.ok('echo');
  await until(() => count(transport) === before, 'that no descriptor stays behind');
  assert.equal((await channel.pids()).transport, transport);
});

test('presences without an end: queues_max_bytes', async (t) => {
  const own = await start(t, { env: bySignal, server: { queues_max_bytes: '300000' } });
  const client = await own.connect();
  t.after(() => client.close());
  const channel = await client.join('test:wild');
  const sibling = await client.join('test:sibling');
  const fatal = channel.send('do', { do: 'track_flood' });
  await own.log(/channel test:wild tracks presences, but \d+ bytes would be kept for this client \(queues_max_bytes\)$/);
  assert.deepEqual(await channel.reply(fatal), CRASHED);
  await sibling.ok('echo');
  assert.equal((await channel.about()).restarts, 1);
});
