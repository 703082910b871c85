// Presences: who is on a topic, what clients are told of it, and what becomes
// of it when channels, connections and processes end.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { Channel, CRASHED } from './lib/client.mjs';
import { asan, build, start } from './lib/server.mjs';
import { Inbox, until, within } from './lib/wait.mjs';

const module = 'presence.so:presence';
const channels = {
  'room:*': { module },
  'once:*': { module, restart: 'temporary' },
  'names:*': { module: 'presence.so:adding' },
  'last:*': {},
  'service:*': {},
};
const endpoint = { module: 'presence.so:api', tree: 'true' };
const services = { asking: { module: 'presence.so:asking' } };
const server = await start({ after }, {
  channels, endpoint, services, server: { head_max: '32768' },
});

let topics = 0;
const topic = (prefix = 'room') => `${prefix}:${++topics}`;

async function connect(t, to = server) {
  const client = await to.connect();
  t.after(() => client.socket.terminate());
  return client;
}

// A channel that has joined, with its presence_state.
async function member(t, name, params = {}, client) {
  const own = client ?? (await connect(t));
  const channel = await own.join(name, params);
  channel.state = (await channel.event('presence_state'))[4];
  return channel;
}

// The process of a channel.
function processOf({ client, topic: name, joinRef }) {
  const port = client.socket._socket.localPort;
  const transports = server.workers('transport').filter(({ title }) => title.includes(`:${port}`));
  const [{ pid }] = server.workers('channel').filter(
    ({ ppid, title }) => transports.some((p) => p.pid === ppid) &&
      title.includes(` ${name} `) && title.includes(`join_ref="${joinRef}"`));
  return pid;
}

const diff = async (channel) => (await channel.event('presence_diff'))[4];
const list = (channel, payload = {}) => channel.ok('list', payload);
const joins = (channel, key, meta = {}) => channel.ok('track', { key, meta });

// Nothing that nobody took has come.
async function nothingMore(...all) {
  for (const { client } of all) {
    await client.heartbeat();
    assert.deepEqual(client.rest(), []);
  }
}

// The metas of a list without their refs, which are refs.
function metas(presences) {
  const all = {};
  for (const key of Object.keys(presences)) {
    assert.deepEqual(Object.keys(presences[key]), ['metas']);
    all[key] = presences[key].metas.map(({ phx_ref: ref, ...meta }) => {
      assert.match(ref, /^[\w-]{16}$/);
      return meta;
    });
  }
  return all;
}

// ---- track, update, untrack ----

test('track: the diff is a broadcast to all, the one concerned included', async (t) => {
  const name = topic();
  const [one, two] = [await member(t, name), await member(t, name)];
  assert.deepEqual([one.state, two.state], [{}, {}]);
  const ref = await joins(two, 'ann', { on: 'phone' });
  const expected = { joins: { ann: { metas: [{ phx_ref: ref, on: 'phone' }] } }, leaves: {} };
  for (const channel of [one, two])
    assert.deepEqual(await channel.event('presence_diff'), [null, null, name, 'presence_diff', expected]);
  assert.deepEqual(await list(one), expected.joins);
  await nothingMore(one, two);
});

test('update: one diff; phx_ref_prev says what it replaced', async (t) => {
  const name = topic();
  const one = await member(t, name);
  let prev = await joins(one, 'ann', { n: 0, gone: true });
  let old = (await diff(one)).joins;
  for (let n = 1; n <= 3; n++) {
    const ref = await one.ok('update', { key: 'ann', meta: { n } });
    assert.notEqual(ref, prev);
    const { joins: now, leaves } = await diff(one);
    assert.deepEqual(now, { ann: { metas: [{ phx_ref: ref, phx_ref_prev: prev, n }] } });
    assert.deepEqual(leaves, old);
    assert.deepEqual(await list(one), now);
    [prev, old] = [ref, now];
  }
  await nothingMore(one);
});

test('untrack: what went, and only that', async (t) => {
  const name = topic();
  const one = await member(t, name);
  await joins(one, 'ann', { n: 1 });
  await joins(one, 'bob');
  const { joins: ann } = await diff(one);
  await diff(one);
  await one.ok('untrack', { key: 'ann' });
  assert.deepEqual(await diff(one), { joins: {}, leaves: ann });
  assert.deepEqual(Object.keys(await list(one)), ['bob']);
  await one.ok('untrack', { key: 'ann' });
  await nothingMore(one);
});

test('already tracked, and not tracked', async (t) => {
  const name = topic();
  const [one, two] = [await member(t, name), await member(t, name)];
  await joins(one, 'ann', { n: 1 });
  await diff(one);
  await diff(two);
  const refused = (response) => ({ status: 'error', response });
  assert.deepEqual(await one.call('track', { key: 'ann' }), refused('EEXIST'));
  assert.deepEqual(await one.call('update', { key: 'bob' }), refused('ENOENT'));
  // Another channel's presences cannot be touched.
  assert.deepEqual(await two.call('update', { key: 'ann' }), refused('ENOENT'));
  await two.ok('untrack', { key: 'ann' });
  assert.deepEqual(metas(await list(two)), { ann: [{ n: 1 }] });
  assert.deepEqual(await one.call('track', { key: 'x', meta: [1] }), refused('EINVAL'));
  await nothingMore(one, two);
});

test('two metas under one key go one by one', async (t) => {
  const name = topic();
  const all = [await member(t, name), await member(t, name), await member(t, name)];
  await joins(all[1], 'ann', { on: 'phone' });
  await joins(all[2], 'ann', { on: 'laptop' });
  // In any order: two connections have none.
  const told = [metas((await diff(all[0])).joins), metas((await diff(all[0])).joins)];
  assert.deepEqual(
    told.sort((a, b) => (a.ann?.[0].on < b.ann?.[0].on ? 1 : -1)),
    [{ ann: [{ on: 'phone' }] }, { ann: [{ on: 'laptop' }] }],
  );
  assert.deepEqual(
    metas(await list(all[0])).ann.map(({ on }) => on).sort(),
    ['laptop', 'phone'],
  );
  assert.equal((await all[0].ok('get', { key: 'ann' })).metas.length, 2);
  await all[1].leave();
  assert.deepEqual(metas((await diff(all[0])).leaves), { ann: [{ on: 'phone' }] });
  assert.deepEqual(metas(await list(all[0])), { ann: [{ on: 'laptop' }] });
});

test('keys are any text', async (t) => {
  const name = topic();
  const one = await member(t, name);
  const keys = ['constructor', '__proto__', '', 'häß \u{1f600}', 'a"b\\c\n', 'toString', '0', 'x'.repeat(16384)];
  for (const key of keys) {
    const ref = await joins(one, key, { key });
    const { joins: joined } = await diff(one);
    assert.deepEqual(Object.entries(joined), [[key, { metas: [{ phx_ref: ref, key }] }]]);
    assert.deepEqual(await one.ok('get', { key }), { metas: [{ phx_ref: ref, key }] });
  }
  assert.deepEqual(new Set(Object.keys(await list(one))), new Set(keys));
  assert.deepEqual(await one.ok('get', { key: 'none' }), []);
  for (const key of keys) {
    await one.ok('untrack', { key });
    assert.deepEqual(Object.keys((await diff(one)).leaves), [key]);
  }
  assert.deepEqual(await list(one), {});
  assert.deepEqual(await one.call('track', { key: 'x'.repeat(16385) }), { status: 'error', response: 'ENAMETOOLONG' });
});

test('metas as they are, but for the refs', async (t) => {
  const one = await member(t, topic());
  const meta = { phx_ref: 'mine', a: { phx_ref: 'inner' }, b: [1, null, 'ü'], phx_ref_prev: 'mine' };
  const ref = await joins(one, 'ann', meta);
  const { joins: joined } = await diff(one);
  assert.deepEqual(joined, { ann: { metas: [{ phx_ref: ref, a: { phx_ref: 'inner' }, b: [1, null, 'ü'] }] } });
});

test('large metas', async (t) => {
  const name = topic();
  const [one, two] = [await member(t, name), await member(t, name)];
  const text = 'x'.repeat(200_000);
  for (const key of ['a', 'b', 'c', 'd', 'e']) {
    await joins(one, key, { text });
    assert.equal((await diff(two)).joins[key].metas[0].text.length, text.length);
  }
  assert.deepEqual(await one.call('track', { key: 'f', meta: { text } }), { status: 'error', response: 'EDQUOT' });
  assert.equal(JSON.stringify(await list(two)).length > 1_000_000, true);
  await one.ok('update', { key: 'a', meta: {} });
  const { leaves } = await diff(two);
  assert.equal(leaves.a.metas[0].text.length, text.length);
  await one.client.close();
  assert.deepEqual(Object.keys((await diff(two)).leaves), ['a', 'b', 'c', 'd', 'e']);
  assert.deepEqual(await list(two), {});
});

test('topics do not mix; a channel may track on others', async (t) => {
  const name = topic();
  const other = topic();
  const [one, two] = [await member(t, name), await member(t, other)];
  await one.ok('track', { topic: other, key: 'ann', meta: { n: 1 } });
  assert.deepEqual(metas((await diff(two)).joins), { ann: [{ n: 1 }] });
  assert.deepEqual(await list(one), {});
  assert.deepEqual(metas(await list(one, { topic: other })), { ann: [{ n: 1 }] });
  await joins(one, 'ann', { n: 2 });
  await diff(one);
  await nothingMore(one, two);
  await one.leave();
  assert.deepEqual(metas((await diff(two)).leaves), { ann: [{ n: 1 }] });
  await nothingMore(two);
});

test('a topic that nobody joined: its list, by a subscription', async (t) => {
  const one = await member(t, topic());
  const two = await member(t, topic());
  assert.deepEqual(await one.ok('subscribe', { topic: 'nobody:1' }), {});
  await two.ok('track', { topic: 'nobody:1', key: 'ann' });
  await one.event('presence_state'); // what this channel makes of any message
  assert.deepEqual(Object.keys(await list(one, { topic: 'nobody:1' })), ['ann']);
});

// ---- ends ----

async function watched(t, params, kind = 'room') {
  const name = topic(kind);
  const watcher = await member(t, name);
  const other = await member(t, name, params);
  const joined = params.key === undefined ? undefined : await diff(watcher);
  return { name, watcher, other, joined };
}

for (const [how, end] of [
  ['leaves', (channel) => channel.send('phx_leave')],
  ['stops', (channel) => channel.send('stop')],
  ['closes its connection', (channel) => channel.client.close()],
  ['loses its connection', (channel) => channel.client.socket.terminate()],
])
  test(`a member that ${how} is in leaves`, async (t) => {
    const { watcher, other, joined } = await watched(t, { key: 'bob' });
    end(other);
    assert.deepEqual(await diff(watcher), { joins: {}, leaves: joined.joins });
    assert.deepEqual(await list(watcher), {});
    await nothingMore(watcher);
  });

test('many keys of one channel go in one diff', async (t) => {
  const { watcher, other } = await watched(t, {});
  await other.ok('many', { n: 1000 });
  for (let i = 0; i < 1000; i++) assert.deepEqual(Object.keys((await diff(watcher)).joins), [`key ${i}`]);
  assert.deepEqual(await other.call('track', { key: 'one more' }), { status: 'error', response: 'EDQUOT' });
  await other.leave();
  const { joins: joined, leaves } = await diff(watcher);
  assert.deepEqual(joined, {});
  assert.equal(Object.keys(leaves).length, 1000);
  assert.deepEqual(await list(watcher), {});
  await nothingMore(watcher);
});

test('a crash with restart = temporary', async (t) => {
  const { watcher, other, joined } = await watched(t, { key: 'bob' }, 'once');
  other.send('crash');
  await other.event('phx_error');
  assert.deepEqual(await diff(watcher), { joins: {}, leaves: joined.joins });
  assert.deepEqual(await list(watcher), {});
  await nothingMore(watcher);
});

test('a crash with restart = transient: one leaves, one joins', async (t) => {
  const { watcher, other, joined } = await watched(t, { key: 'bob' });
  await other.event('presence_diff'); // its own
  assert.deepEqual(await other.call('crash'), CRASHED);
  const gone = await diff(watcher);
  const again = await diff(watcher);
  assert.deepEqual(gone, { joins: {}, leaves: joined.joins });
  assert.deepEqual(metas(again.joins), { bob: [{ restarts: 1 }] });
  assert.deepEqual(again.leaves, {});
  assert.notEqual(again.joins.bob.metas[0].phx_ref, joined.joins.bob.metas[0].phx_ref);
  assert.deepEqual(await diff(other), gone);
  // Its state is not older than a diff that came before it.
  assert.deepEqual((await other.event('presence_state'))[4], again.joins);
  assert.deepEqual(await diff(other), again);
  assert.deepEqual(await list(watcher), again.joins);
  await nothingMore(watcher, other);
});

test('killed with its transport', async (t) => {
  const { watcher, other, joined } = await watched(t, { key: 'bob' });
  const [{ pid }] = server.workers('transport').filter(({ pid: parent }) =>
    server.below(parent).some(({ title }) => title.includes(`join_ref="${other.joinRef}"`) && title.includes(other.topic)),
  ).filter(({ title }) => title.includes(`:${other.client.socket._socket.localPort}`));
  process.kill(pid, 'SIGKILL');
  assert.deepEqual(await diff(watcher), { joins: {}, leaves: joined.joins });
  assert.deepEqual(await list(watcher), {});
});

test('joining twice: the old one leaves before the new one joins', async (t) => {
  const { name, watcher, other, joined } = await watched(t, { key: 'bob' });
  const again = await member(t, name, { key: 'bob' }, other.client);
  assert.deepEqual(await diff(watcher), { joins: {}, leaves: joined.joins });
  const now = await diff(watcher);
  assert.deepEqual(metas(now.joins), { bob: [{ restarts: 0 }] });
  assert.deepEqual(again.state, now.joins);
  assert.deepEqual(await list(watcher), now.joins);
  await nothingMore(watcher);
});

test('what was tracked right before the end', async (t) => {
  for (const event of ['track and crash', 'track and stop']) {
    const { watcher, other } = await watched(t, {}, 'once');
    other.send(event);
    const joined = await diff(watcher);
    assert.deepEqual(metas(joined.joins), { short: [{}] });
    assert.deepEqual(await diff(watcher), { joins: {}, leaves: joined.joins });
    await nothingMore(watcher);
  }
});

test('a list inside terminate', async (t) => {
  const words = await (await connect(t)).join('last:words');
  const name = topic();
  const one = await member(t, name, { key: name });
  await one.leave();
  // The channels of the tests before may be ending, too.
  const [, , , , listed] = await words.client.take(
    (f) => f[2] === 'last:words' && f[3] === 'list' && name in f[4], `the list of ${name}`);
  assert.deepEqual(metas(listed), { [name]: [{ restarts: 0 }] });
});

// ---- order ----

test('the state comes before a diff that is newer', async (t) => {
  const name = topic();
  const [one, two] = [await member(t, name), await member(t, name)];
  one.client.frames.length = 0;
  one.send('state', { ms: 300 });
  await one.event('listed');
  const refs = [];
  for (const key of ['a', 'b', 'c']) refs.push(await joins(two, key));
  for (const key of ['a', 'b', 'c']) assert.deepEqual(Object.keys((await diff(two)).joins), [key]);
  assert.deepEqual((await one.event('presence_state'))[4], {});
  for (const ref of refs) assert.equal(Object.values((await diff(one)).joins)[0].metas[0].phx_ref, ref);
  assert.deepEqual(
    one.client.frames.map((frame) => frame[3]),
    ['listed', 'presence_state', 'presence_diff', 'presence_diff', 'presence_diff'],
  );
});

test('other topics and other channels do not wait for it', async (t) => {
  const name = topic();
  const one = await member(t, name);
  const beside = await member(t, topic(), {}, one.client);
  const two = await member(t, beside.topic);
  one.send('state', { ms: 600_000 });
  await one.event('listed');
  await joins(two, 'ann');
  await diff(beside);
  assert.deepEqual(await beside.ok('echo', { n: 1 }), { n: 1 });
  assert.deepEqual(one.client.rest(), []);
  process.kill(processOf(one), 'SIGKILL');
  await one.event('presence_state'); // of the next one
});

test('the channel dies while frames are held back', async (t) => {
  const name = topic();
  const [one, two] = [await member(t, name), await member(t, name)];
  one.send('state', { ms: 60_000 });
  await one.event('listed');
  await joins(two, 'ann');
  await diff(two);
  assert.deepEqual(one.client.rest(), []);
  process.kill(processOf(one), 'SIGKILL');
  assert.deepEqual(metas((await diff(one)).joins), { ann: [{}] });
  assert.deepEqual(metas((await one.event('presence_state'))[4]), { ann: [{}] });
  await joins(two, 'bob');
  assert.deepEqual(Object.keys((await diff(one)).joins), ['bob']);
});

test('held back too long: the policy', async (t) => {
  const own = await start(t, {
    channels: { 'room:*': { module, shutdown: '200ms' } },
    server: { backlog_max: '100000' },
  });
  const name = topic();
  const one = await member(t, name, {}, await connect(t, own));
  const two = await member(t, name, {}, await connect(t, own));
  one.send('state', { ms: 60_000 });
  await one.event('listed');
  for (let i = 0; i < 4; i++) await joins(two, `${i}`, { text: 'x'.repeat(50_000) });
  await one.client.end();
  await own.log(/closed: what waits for a channel's list is full/);
  for (let i = 0; i < 4; i++) await diff(two);
  assert.equal(Object.keys(await list(two)).length, 4);
  await two.client.close();
});

test('a newcomer misses nothing between its state and its first diff', async (t) => {
  const name = topic();
  const busy = await member(t, name);
  let n = 0;
  let going = true;
  const work = (async () => {
    while (going) await busy.ok(n++ % 2 === 0 ? 'track' : 'untrack', { key: 'k', meta: { n } });
  })();
  for (let i = 0; i < 30; i++) {
    const client = await connect(t);
    const one = new Channel(client, name);
    assert.equal((await one.joined()).status, 'ok');
    await one.event('presence_state');
    for (let changes = 0; changes < 4; changes++) await diff(one);
    // The state may be newer than diffs that come behind it. It was told before
    // this, so that at this diff all that it has have come.
    await busy.ok('track', { key: `mark ${i}` });
    const isMark = (f) => f[3] === 'presence_diff' && f[4].joins[`mark ${i}`] !== undefined;
    await client.take(isMark, 'the mark');
    // The state and the diffs behind it, in the order in which they came.
    const known = new Set();
    let stated = false;
    const end = client.frames.findIndex(isMark);
    for (const [, , , event, payload] of client.frames.slice(0, end)) {
      if (event === 'presence_state') {
        stated = true;
        known.clear();
        for (const { phx_ref: ref } of payload.k?.metas ?? []) known.add(ref);
      } else if (event === 'presence_diff' && stated) {
        for (const { phx_ref: ref } of payload.joins.k?.metas ?? []) known.add(ref);
        for (const { phx_ref: ref } of payload.leaves.k?.metas ?? []) known.delete(ref);
      }
    }
    assert.ok(stated && known.size <= 1, [...known].join(' '));
    await client.close();
  }
  going = false;
  await work;
});

// ---- fetch ----

test('fetch adds to lists and diffs', async (t) => {
  const name = topic('names');
  const one = await member(t, name, { key: 'ann' });
  const strip = (presences) => Object.fromEntries(
    Object.entries(presences).map(([key, { metas: all, ...more }]) => [key, { n: all.length, ...more }]),
  );
  const expected = { ann: { n: 1, length: 3 } };
  assert.deepEqual(strip(one.state), expected);
  const { joins: joined } = await diff(one);
  assert.deepEqual(strip(joined), expected);
  assert.deepEqual(strip(await list(one)), expected);
  assert.equal((await one.ok('get', { key: 'ann' })).length, 3);
  assert.deepEqual(await one.ok('get', { key: 'none' }), []);
  // Those of other topics, too, as the topic's own module has it.
  const other = await member(t, topic());
  assert.deepEqual(strip(await list(other, { topic: name })), expected);
  assert.equal((await other.ok('get', { topic: name, key: 'ann' })).length, 3);
});

// ---- endpoints, services, bennu(1) ----

async function get(url, status = 200) {
  const response = await fetch(`http://127.0.0.1:${server.port}${url}`);
  assert.equal(response.status, status);
  return response.json();
}

test('fetch adds to each diff', async (t) => {
  const one = await member(t, topic('names'));
  for (let i = 0; i < 10; i++) {
    await joins(one, 'ann');
    assert.equal((await diff(one)).joins.ann.length, 3);
    await one.ok('untrack', { key: 'ann' });
    assert.equal((await diff(one)).leaves.ann.length, 3);
  }
});

test('fetch crashes, or makes too much of it: the diff goes without', async (t) => {
  const one = await member(t, topic('names'));
  for (const key of ['crash', 'much', 'crash']) {
    const ref = await joins(one, key);
    await joins(one, 'ann');
    assert.deepEqual((await diff(one)).joins, { [key]: { metas: [{ phx_ref: ref }] } });
    assert.equal((await diff(one)).joins.ann.length, 3);
    await one.ok('untrack', { key });
    assert.deepEqual((await diff(one)).leaves, { [key]: { metas: [{ phx_ref: ref }] } });
    await one.ok('untrack', { key: 'ann' });
    assert.equal((await diff(one)).leaves.ann.length, 3);
  }
});

test('fetch hangs: nothing waits longer than 5 s for it', async (t) => {
  const one = await member(t, topic('names'));
  const begin = performance.now();
  for (let i = 0; i < 5; i++) {
    await joins(one, 'hang');
    await one.ok('untrack', { key: 'hang' });
  }
  const asked = performance.now();
  for (let i = 0; i < 5; i++) {
    assert.deepEqual(Object.keys((await diff(one)).joins), ['hang']);
    assert.deepEqual(Object.keys((await diff(one)).leaves), ['hang']);
  }
  const now = performance.now();
  // Had one waited behind another it would be 10 s.
  assert.ok(now - begin > 4000 && now - asked < 9500, `${now - begin} ms, ${now - asked} ms`);
  // The process that hangs is gone soon.
  await until(async () => {
    await joins(one, 'ann');
    const { length } = (await diff(one)).joins.ann;
    await one.ok('untrack', { key: 'ann' });
    await diff(one);
    return length === 3;
  }, 'additions again');
});

test('fetch is killed: diffs stay in order', async (t) => {
  const one = await member(t, topic('names'));
  const two = await member(t, one.topic);
  for (let i = 0; i < 200; i++) {
    if (i % 20 === 10) {
      const pid = server.workers('fetch').at(0)?.pid ??
        server.processes().find(({ title }) => title === 'bennu: fetch')?.pid;
      try {
        if (pid !== undefined) process.kill(pid, 'SIGKILL');
      } catch (error) {
        assert.equal(error.code, 'ESRCH'); // the one before has just ended
      }
    }
    one.send(i % 2 === 0 ? 'track' : 'untrack', { key: `${i >> 1}` });
  }
  for (const member of [one, two])
    for (let i = 0; i < 200; i++) {
      const { joins: joined, leaves } = await diff(member);
      const [there, not] = i % 2 === 0 ? [joined, leaves] : [leaves, joined];
      assert.deepEqual(Object.keys(there), [`${i >> 1}`], `${i}`);
      assert.deepEqual(not, {});
    }
});

test('an endpoint asks', async (t) => {
  const name = topic();
  const one = await member(t, name, { key: 'ann' });
  assert.deepEqual(await get(`/list/${name}`), await list(one));
  assert.deepEqual(metas(await get(`/list/${name}`)), { ann: [{ restarts: 0 }] });
  assert.equal((await get(`/list/${name}/ann`)).metas.length, 1);
  assert.deepEqual(await get(`/list/${name}/bob`), []);
  assert.deepEqual(await get('/list/nobody'), {});
  const names = await member(t, topic('names'), { key: 'ann' });
  assert.equal((await get(`/list/${names.topic}`)).ann.length, 3);
  assert.equal((await get(`/list/${names.topic}/ann`)).length, 3);
  assert.match(JSON.stringify(await get(`/list/${'x'.repeat(16385)}`, 400)), /ENAMETOOLONG/);
});

test('a service asks', async (t) => {
  const client = await connect(t);
  const out = await client.join('service:out');
  const into = await client.join('service:in');
  const ask = async (payload) => {
    await into.ok('broadcast', { event: 'ask', payload });
    return (await out.event('list'))[4];
  };
  const one = await member(t, topic(), { key: 'ann' });
  assert.deepEqual(await ask({ topic: one.topic }), await list(one));
  assert.equal((await ask({ topic: one.topic, key: 'ann' })).metas.length, 1);
  assert.deepEqual(await ask({ topic: one.topic, key: 'bob' }), []);
  const names = await member(t, topic('names'), { key: 'ann' });
  assert.equal((await ask({ topic: names.topic })).ann.length, 3);
});

function bennu(t, args, directory = server.run) {
  const child = spawn(path.join(build, 'supervisor/bennu'), ['-r', directory, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const inbox = (stream) => {
    const lines = new Inbox();
    let rest = '';
    lines.text = '';
    stream.setEncoding('utf8').on('data', (data) => {
      lines.text += data;
      const all = (rest + data).split('\n');
      rest = all.pop();
      for (const line of all) lines.add(line);
    });
    stream.once('end', () => lines.close('the end of the output'));
    return lines;
  };
  return {
    child,
    out: inbox(child.stdout),
    err: inbox(child.stderr),
    exited: new Promise((resolve) => child.once('close', (code) => resolve(code))),
  };
}

const line = async (from) => JSON.parse(await from.take(() => true, 'a line'));
const status = (process_) => within(process_.exited, () => 'the end of bennu');

test('bennu presence', async (t) => {
  const one = await member(t, topic(), { key: 'ann' });
  const once = bennu(t, ['presence', one.topic]);
  assert.deepEqual(await line(once.out), await list(one));
  assert.equal(await status(once), 0);
  const empty = bennu(t, ['presence', 'nobody']);
  assert.deepEqual(await line(empty.out), {});
  assert.equal(await status(empty), 0);
});

test('bennu presence -f', async (t) => {
  const one = await member(t, topic(), { key: 'ann' });
  await diff(one); // else it could be heard, too
  for (const option of ['-f', '--follow']) {
    const process_ = bennu(t, ['presence', option, one.topic]);
    const listed = await line(process_.out);
    assert.deepEqual(listed, await list(one));
    await one.ok('echo', {});
    await joins(one, `bob ${option}`, { text: 'ü' });
    assert.deepEqual(metas((await line(process_.out)).joins), { [`bob ${option}`]: [{ text: 'ü' }] });
    await one.ok('untrack', { key: `bob ${option}` });
    assert.deepEqual(metas((await line(process_.out)).leaves), { [`bob ${option}`]: [{ text: 'ü' }] });
    process_.child.kill('SIGINT');
    assert.equal(await status(process_), 0);
  }
});

test('bennu presence: what is no server, and no topic', async (t) => {
  const nowhere = bennu(t, ['presence', 'x'], path.join(server.directory, 'none'));
  assert.equal(await status(nowhere), 1);
  assert.match(nowhere.err.text, /no server runs in /);
  for (const args of [['presence'], ['presence', ''], ['presence', 'a', 'b'], ['presence', '-f'], ['presence', '-f', '']])
    assert.equal(await status(bennu(t, args)), 2, args.join(' '));
});

// ---- what is too much ----

test('what a small journal cannot take', async (t) => {
  const own = await start(t, { channels, server: { journal_size: '64000' } });
  const name = topic();
  const one = await member(t, name, {}, await connect(t, own));
  const two = await member(t, name, {}, await connect(t, own));
  const meta = { text: 'x'.repeat(20_000) };
  assert.deepEqual(await two.reply(two.send('track', { key: 'a', meta })), {
    status: 'error', response: 'EDQUOT',
  });
  await joins(two, 'b');
  assert.deepEqual(metas((await diff(one)).joins), { b: [{}] });
  assert.equal(own.count(/bad PS_PUBLISH/), 0);
});

test('a list that is larger than an envelope', async (t) => {
  const own = await start(t, { channels, endpoint });
  const text = 'x'.repeat(1_000_000);
  const all = [];
  for (let i = 0; i < 68; i++) {
    all.push(await member(t, topic(), {}, await connect(t, own)));
    await all[i].ok('track', { topic: 'much', key: `${i}`, meta: { text } });
    await list(all[i]); // behind it: presence has read it
  }
  const [{ pid }] = own.processes().filter(({ title }) => title === 'bennu: presence');
  const [one] = all;
  assert.deepEqual(await one.reply(one.send('list', { topic: 'much' })), {
    status: 'error', response: 'EMSGSIZE',
  });
  const answer = await fetch(`http://127.0.0.1:${own.port}/list/much`);
  assert.equal(answer.status, 400);
  assert.match(await answer.text(), /EMSGSIZE/);
  const asked = bennu(t, ['presence', 'much'], own.run);
  assert.equal(await status(asked), 1);
  assert.match(asked.err.text, /too long/);
  assert.deepEqual(await list(one), {});
  assert.equal((await one.ok('get', { topic: 'much', key: '7' })).metas.length, 1);
  assert.equal(own.processes().filter((p) => p.pid === pid).length, 1);
});

// ---- presence itself ----

const presence = () => server.workers('presence').at(0) ?? server.processes().find(({ title }) => title === 'bennu: presence');

test('presence dies: nothing is lost, and who asks waits', async (t) => {
  const name = topic();
  const one = await member(t, name, { key: 'ann' });
  await diff(one); // so that it is not for who joins now
  const two = await member(t, name);
  const before = await list(one);
  for (let i = 0; i < 3; i++) {
    process.kill(presence().pid, 'SIGKILL');
    assert.deepEqual(await list(two), before);
    await joins(two, `${i}`);
    assert.deepEqual(Object.keys((await diff(one)).joins), [`${i}`]);
    await diff(two);
    await two.ok('untrack', { key: `${i}` });
    assert.deepEqual(Object.keys((await diff(one)).leaves), [`${i}`]);
    await diff(two);
  }
  await nothingMore(one, two);
});

test('presence dies before it has read what changed', async (t) => {
  const name = topic();
  const watcher = await member(t, name);
  const client = await connect(t);
  const stays = await member(t, name, {}, client);
  const other = topic();
  const leaves = await member(t, other, { key: 'left' }, client);
  const goes = await member(t, name);
  await joins(goes, 'gone');
  await leaves.ok('track', { topic: name, key: 'left' });
  for (const key of ['same', 'updated', 'untracked']) await joins(stays, key);
  for (let i = 0; i < 5; i++) await diff(watcher);
  const port = goes.client.socket._socket.localPort;
  const transport = server.workers('transport').find(({ title }) => title.includes(`:${port}`)).pid;
  const { pid } = presence();
  process.kill(pid, 'SIGSTOP');
  await stays.ok('update', { key: 'updated', meta: { n: 1 } });
  await stays.ok('update', { key: 'updated', meta: { n: 2 } });
  await stays.ok('untrack', { key: 'untracked' });
  await joins(stays, 'new');
  await leaves.leave();
  await goes.client.close();
  await until(
    () => !server.processes().some((p) => p.pid === transport),
    'the end of the transport',
  );
  process.kill(pid, 'SIGKILL');
  const without = (all) => Object.fromEntries(
    Object.entries(metas(all)).map(([key, those]) => [
      key, those.map(({ phx_ref_prev: prev, ...meta }) => meta),
    ]),
  );
  // The order of what was missed is not that in which it happened.
  const told = [];
  for (let i = 0; i < 5; i++) {
    const { joins: there, leaves: not } = await diff(watcher);
    told.push(JSON.stringify([without(there), without(not)]));
  }
  assert.deepEqual(told.sort(), [
    [{ new: [{}] }, {}],
    [{ updated: [{ n: 2 }] }, { updated: [{}] }],
    [{}, { gone: [{}] }],
    [{}, { left: [{}] }],
    [{}, { untracked: [{}] }],
  ].map((pair) => JSON.stringify(pair)).sort());
  assert.deepEqual(without(await list(watcher)), { new: [{}], same: [{}], updated: [{ n: 2 }] });
  assert.deepEqual(await list(watcher, { topic: other }), {});
  await nothingMore(watcher);
});

test('presence hangs: a channel that asks crashes after 5 s, and others live', async (t) => {
  const own = await start(t, { channels, endpoint });
  const client = await connect(t, own);
  const one = await member(t, topic(), {}, client);
  const quiet = await member(t, topic(), {}, client);
  const pid = own.processes().find(({ title }) => title === 'bennu: presence').pid;
  process.kill(pid, 'SIGSTOP');
  const ref = one.send('list');
  assert.deepEqual(await quiet.ok('echo', { n: 1 }), { n: 1 });
  await own.log(/bennu_presence_list: presence did not answer in 5 s/);
  assert.deepEqual(await one.reply(ref), { status: 'error', response: { reason: 'channel crashed' } });
  process.kill(pid, 'SIGCONT');
  assert.deepEqual((await one.event('presence_state'))[4], {});
});

test('a channel is started again while presence is not there: it leaves, then joins', async (t) => {
  const own = await start(t, { channels });
  const one = await connect(t, own);
  const channel = await one.join('room:1', { key: 'me' });
  const two = await (await connect(t, own)).join('room:1');
  await until(async () => (await list(two)).me !== undefined, 'the first one');
  const [{ phx_ref: ref }] = (await list(two)).me.metas;
  const [{ pid }] = own.workers('presence');
  process.kill(pid, 'SIGSTOP');
  channel.send('crash');
  await own.log(/child_terminated: room:1\[\d+\] transient: killed, restart/);
  await until(() => own.workers('channel').some(({ title }) => / restarts=1/.test(title)), 'the next one');
  process.kill(pid, 'SIGKILL');
  const gone = async () => {
    const { joins: joined, leaves } = await diff(two);
    return leaves.me?.metas[0].phx_ref === ref ? joined : null;
  };
  let joined;
  await until(async () => (joined = await gone()) !== null, 'the leave');
  assert.deepEqual(joined, {});
  const next = await diff(two);
  assert.deepEqual([next.leaves, next.joins.me.metas.map(({ restarts }) => restarts)], [{}, [1]]);
});

// What it had not read when it was stopped is told at the end, not one by one:
// else a client would get it all at once.
test('presence is stopped while a channel updates: no memory, and no client, is lost', async (t) => {
  const own = await start(t, { channels });
  const client = await connect(t, own);
  const channel = await client.join('room:1', { key: 'me' });
  await channel.event('presence_diff');
  const [{ pid }] = own.workers('presence');
  const [transport] = own.workers('transport');
  const kB = () =>
    Number(/RssAnon:\s+(\d+)/.exec(fs.readFileSync(`/proc/${transport.pid}/status`, 'latin1'))[1]);
  const text = 'x'.repeat(5000);
  const update = (i) => channel.ok('update', { key: 'me', meta: { i, text } });
  await update(-1);
  const before = kB();
  process.kill(pid, 'SIGSTOP');
  const N = 2000; // 10 MB
  for (let i = 0; i < N; i += 20)
    await Promise.all(Array.from({ length: 20 }, (_, k) => update(i + k)));
  const grown = kB() - before;
  process.kill(pid, 'SIGCONT');
  assert.ok(asan || grown < 3000, `${grown} kB`);
  await until(async () => (await diff(channel)).joins.me.metas[0].i === N - 1, 'the last diff');
  assert.equal((await list(channel)).me.metas[0].i, N - 1);
});

test('everything has gone in the end', async () => {
  await until(() => server.workers('transport').length === 0, 'the end of the transports');
});
