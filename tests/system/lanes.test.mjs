// Order and wholeness where pubsub and the transport write to one socket
// (ARCHITECTURE.md 5, PROTOCOL.md 3 and 4): seen frame by frame, under a fan-out.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Listener, Sender } from './lib/listener.mjs';
import { gone } from './lib/procs.mjs';
import { asan, Server, start, temporary } from './lib/server.mjs';
import { until, within } from './lib/wait.mjs';
import { frame, CLOSE } from './lib/wire.mjs';

const LONG = asan ? 120_000 : 60_000;
const ROUNDS = asan ? 40 : 300;
const channels = {
  'test:*': {},
  'api:*': { module: 'api.so:api' },
  'who:*': { module: 'connect.so:who' },
};
const options = { channels, server: { backlog_max: '64M' }, socket: { idle_timeout: '600s' } };

async function listener(t, server, opts) {
  const one = await Listener.open(server, opts);
  t.after(() => one.close());
  return one;
}

// Senders that broadcast to a topic until the test is done: { all, stop() }.
async function fanOut(t, server, topic, n = 2, opts = {}) {
  const all = await Promise.all(Array.from({ length: n }, async (_, i) => {
    const one = await listener(t, server);
    await one.join(`test:own${i}`);
    return new Sender(one, `s${i}`, `test:own${i}`, topic, { window: 4, ms: LONG, ...opts });
  }));
  const sending = Promise.all(all.map((s) => s.run()));
  sending.catch(() => {});
  await until(() => all.every((s) => s.accepted > 10), 'the beginning', LONG);
  return {
    all,
    stop: async () => {
      all.forEach((s) => s.stop());
      await within(sending, () => 'the last replies', LONG);
    },
  };
}

const isReply = (ref) => (f) => f[3] === 'phx_reply' && f[1] === ref;

test('an own broadcast comes before the reply, among those of others', async (t) => {
  const server = await start(t, options);
  const busy = await fanOut(t, server, 'test:a');
  const other = await listener(t, server);
  await other.join('test:a');
  const mine = await listener(t, server);
  await mine.join('test:a');
  mine.keeps = true;
  for (let i = 0; i < ROUNDS; i++) {
    mine.frames.length = 0;
    const ref = mine.send('test:a', 'mixed');
    await mine.take((f) => f[3] === 'five', 'the last');
    const order = mine.frames.map((f) => (f[3] === 'phx_reply' ? 'reply' : f[3])).filter((e) => e !== 'numbered');
    assert.deepEqual(order, ['one', 'two', 'reply', 'four', 'five']);
    assert.ok(mine.frames.some(isReply(ref)));
    mine.inbox.items.length = 0;
  }
  await busy.stop();
  await until(() => busy.all.every((s) => mine.last(s.name, 'test:a') === s.sent && other.last(s.name, 'test:a') === s.sent), 'the end', LONG);
  const seen = (event) => other.inbox.items.filter((f) => f[3] === event).length;
  await until(() => seen('five') >= ROUNDS, 'the last of the others', LONG);
  assert.deepEqual([seen('two'), seen('five'), seen('one')], [ROUNDS, ROUNDS, 0]);
});

for (const vsn of ['2.0.0', '1.0.0'])
  test(`join and leave under a fan-out (${vsn}): nothing before the reply, nothing behind the close`, async (t) => {
    const server = await start(t, options);
    const busy = await fanOut(t, server, 'test:a');
    const one = await listener(t, server, { vsn });
    // The lane is in use meanwhile for another topic.
    await one.join('test:b');
    const beside = await fanOut(t, server, 'test:b', 1, { pause: 2 });
    one.keeps = true;
    for (let i = 0; i < ROUNDS; i++) {
      one.frames.length = 0;
      one.heard.clear();
      const join = one.nextRef();
      one.send('test:a', 'phx_join', {}, join, join);
      await one.reply(join);
      const accepted = busy.all.map((s) => s.sent);
      if (i % 3 > 0)
        await until(() => busy.all.every((s) => one.last(s.name, 'test:a') > 0), 'a broadcast');
      const leave = one.send('test:a', 'phx_leave', {}, join);
      await one.take((f) => f[2] === 'test:a' && f[3] === 'phx_close', 'phx_close');
      await one.heartbeat();
      const order = one.frames.filter((f) => f[2] === 'test:a');
      assert.equal(order.findIndex(isReply(join)), 0, 'a broadcast before the join reply');
      assert.equal(order.at(-1)[3], 'phx_close', 'a broadcast behind phx_close');
      assert.equal(order.findIndex(isReply(leave)), order.length - 2, 'a broadcast between the reply and phx_close');
      // Of what was sent after the reply nothing is missing at the front.
      for (const [k, s] of busy.all.entries()) {
        const first = order.find((f) => f[3] === 'numbered' && f[4].from === s.name);
        assert.ok(first === undefined || first[4].n <= accepted[k] + 1, `${first?.[4].n} ${accepted[k]}`);
      }
      one.check();
    }
    await beside.stop();
    await busy.stop();
  });

test('a duplicate join under a fan-out: the new reply, then the old close; each broadcast once', async (t) => {
  const server = await start(t, options);
  const busy = await fanOut(t, server, 'test:a');
  const one = await listener(t, server);
  let old = await one.join('test:a');
  one.keeps = true;
  for (let i = 0; i < ROUNDS; i++) {
    one.frames.length = 0;
    const join = one.nextRef();
    one.beginsAt(join);
    one.send('test:a', 'phx_join', {}, join, join);
    const before = busy.all.map((s) => s.accepted);
    await one.take((f) => f[3] === 'phx_close' && f[0] === old, 'the close of the old one');
    await until(() => {
      one.check();
      return busy.all.every((s, k) => one.last(s.name, 'test:a') > before[k]);
    }, 'broadcasts', LONG);
    const order = one.frames;
    const reply = order.findIndex(isReply(join));
    const close = order.findIndex((f) => f[3] === 'phx_close');
    assert.ok(reply !== -1 && reply < close);
    assert.ok(order.slice(reply).some((f) => f[3] === 'numbered'));
    // What follows the reply is without a gap, and once.
    one.check();
    old = join;
  }
  await busy.stop();
});

test('V1, V2, binary, intercept and handle_info: each gets its form', async (t) => {
  const server = await start(t, options);
  const v1 = await listener(t, server, { vsn: '1.0.0' });
  const v2 = await listener(t, server);
  const sender = await listener(t, server);
  const watcher = await listener(t, server);
  for (const one of [v1, v2, sender]) await one.join('test:a');
  const watching = await watcher.join('test:w');
  await watcher.ok('test:w', 'subscribe', { topic: 'test:a' });
  const heard = [await listener(t, server), await listener(t, server, { vsn: '1.0.0' })];
  const refs = await Promise.all(heard.map((one) => one.join('api:a')));
  const payload = { text: 'é"\\', n: [1.5, null] };
  for (let i = 0; i < 30; i++) {
    await sender.ok('test:a', 'broadcast', { event: 'news', payload });
    for (const one of [v1, v2])
      assert.deepEqual(await one.take((f) => f[3] === 'news', 'news'), [null, null, 'test:a', 'news', payload]);
    assert.deepEqual(await watcher.take((f) => f[3] === 'info', 'info'), [
      watching, null, 'test:w', 'info', { topic: 'test:a', event: 'news', payload },
    ]);
    await sender.ok('test:a', 'broadcast', { to: 'api:a', event: 'shout', payload: { i } });
    assert.deepEqual(await heard[0].take((f) => f[3] === 'heard', 'heard'), [refs[0], null, 'api:a', 'heard', { i }]);
    assert.deepEqual(await heard[1].take((f) => f[3] === 'heard', 'heard'), [null, null, 'api:a', 'heard', { i }]);
  }
  // Bytes: a V2 client has them, for V1 there is no form.
  sender.send('test:a', 'bytes');
  const [, , , , bytes] = await v2.take((f) => f[3] === 'bytes', 'bytes');
  assert.deepEqual([...bytes], [0, 1, 2, 0xfe, 0xff]);
  await v1.heartbeat();
  assert.ok(!v1.inbox.items.some((f) => f[3] === 'bytes'));
});

test('disconnect of a socket id under a fan-out: whole frames, then 1001', async (t) => {
  const server = await start(t, { ...options, socket: { ...options.socket, module: 'connect.so:user_socket' } });
  const busy = await fanOut(t, server, 'test:a');
  const who = await listener(t, server);
  await who.join('who:a');
  for (let i = 0; i < 20; i++) {
    const victims = await Promise.all([1, 2, 3].map(() => listener(t, server, { query: `&id=users:${i}` })));
    await Promise.all(victims.map((one) => one.join('test:a')));
    await who.ok('who:a', 'disconnect', { text: `users:${i}` });
    assert.deepEqual(await Promise.all(victims.map((one) => one.end())), [1001, 1001, 1001]);
  }
  await busy.stop();
});

test('broadcasts of several MB among small ones, to quick and to slow readers', async (t) => {
  const server = await start(t, options);
  const all = await Promise.all(Array.from({ length: 6 }, (_, i) => listener(t, server, { vsn: i % 2 ? '1.0.0' : '2.0.0' })));
  await Promise.all(all.map((one) => one.join('test:a')));
  const large = await listener(t, server);
  await large.join('test:large');
  const busy = await fanOut(t, server, 'test:a', 2, { pause: 10, window: 1 });
  const sizes = [70_000, 300_000, 1_000_000, 3_000_000, 5_000_000, 262_144, 65_536];
  for (const [i, size] of sizes.entries()) {
    all.slice(0, 3).forEach((one) => one.pause());
    const pad = String(i).repeat(size);
    await large.ok('test:large', 'broadcast', { to: 'test:a', event: 'large', payload: { pad } }, LONG);
    await Promise.all(all.slice(3).map((one) => one.take((f) => f[3] === 'large' && f[4].pad === pad, `${size} bytes`, LONG)));
    all.slice(0, 3).forEach((one) => one.resume());
    await Promise.all(all.slice(0, 3).map((one) => one.take((f) => f[3] === 'large' && f[4].pad === pad, `${size} bytes`, LONG)));
  }
  await busy.stop();
  await until(() => all.every((one) => busy.all.every((s) => one.last(s.name, 'test:a') === s.sent)), 'the end', LONG);
  all.forEach((one) => one.check());
});

test('a close handshake under a fan-out: whole frames only, nothing behind the Close', async (t) => {
  const server = await start(t, options);
  const busy = await fanOut(t, server, 'test:a', 2, { size: (n) => (n % 10 === 0 ? 30_000 : 10) });
  for (let i = 0; i < (asan ? 10 : 50); i++) {
    const some = await Promise.all([1, 2, 3, 4].map(() => listener(t, server)));
    await Promise.all(some.map((one) => one.join('test:a')));
    some.slice(2).forEach((one) => one.pause());
    await until(() => some.slice(0, 2).every((one) => one.count > 0), 'a broadcast', LONG);
    // 1000.
    some.forEach((one) => one.socket.write(frame(CLOSE, Buffer.from([3, 232]))));
    some.forEach((one) => one.resume());
    for (const one of some) assert.equal(await one.end(LONG), 1000);
  }
  await busy.stop();
});

test('SIGTERM under a fan-out: whole frames, then 1012', async (t) => {
  for (let round = 0; round < 3; round++) {
    const server = await new Server(options).ready();
    const all = await Promise.all(Array.from({ length: 20 }, () => listener(t, server)));
    await Promise.all(all.map((one) => one.join('test:a')));
    await fanOut(t, server, 'test:a', 3, { size: (n) => (n % 20 === 0 ? 20_000 : 100) });
    all.slice(0, 5).forEach((one) => one.pause());
    await delay(30);
    const stopped = server.stop();
    all.forEach((one) => one.resume());
    const codes = await Promise.all(all.map((one) => one.end(LONG)));
    assert.deepEqual(codes, Array(all.length).fill(1012));
    await stopped;
  }
});

test('clients of a Unix-domain listener, which have no lane, get all the same', async (t) => {
  const directory = temporary();
  const socket = path.join(directory, 'listener');
  const server = await start(t, { ...options, server: { ...options.server, listen: ['127.0.0.1:0', `unix:${socket}`] }, log: { level: 'info' } });
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const all = await Promise.all(Array.from({ length: 8 }, (_, i) =>
    listener(t, server, { path: i % 2 ? socket : undefined, vsn: i % 4 < 2 ? '2.0.0' : '1.0.0' })));
  await Promise.all(all.map((one) => one.join('test:a')));
  const busy = await fanOut(t, server, 'test:a', 2, { size: (n) => (n % 50 === 0 ? 100_000 : 10), pause: 1 });
  // Their order of own things holds, too.
  const mine = all[1];
  mine.keeps = true;
  mine.send('test:a', 'mixed');
  await mine.take((f) => f[3] === 'five', 'the last');
  assert.deepEqual(
    mine.frames.map((f) => (f[3] === 'phx_reply' ? 'reply' : f[3])).filter((e) => e !== 'numbered'),
    ['one', 'two', 'reply', 'four', 'five'],
  );
  mine.keeps = false;
  for (let i = 0; i < 4; i++) {
    // Replies do not wait for pubsub: those of the round before may be dying.
    const workers = await until(() => {
      const alive = server.workers('pubsub');
      return alive.length === server.pubsub && alive;
    }, 'all workers', LONG);
    for (const { pid } of workers) process.kill(pid, 'SIGKILL');
    for (const { pid } of workers) await gone(pid, LONG);
    const before = busy.all.map((s) => s.accepted);
    await until(() => busy.all.every((s, k) => s.accepted > before[k] + 50), 'accepted broadcasts', LONG);
  }
  await busy.stop();
  await until(() => {
    all.forEach((one) => one.check());
    return all.every((one) => busy.all.every((s) => one.last(s.name, 'test:a') === s.sent));
  }, 'the end', LONG);
  for (const one of all) assert.equal(one.count, busy.all.reduce((sum, s) => sum + s.sent, 0));
});
