// A channel that dies is started again, and its client notices nothing but the
// answer to the message that killed it (ARCHITECTURE.md 4).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { Channel, CRASHED, UNMATCHED } from './lib/client.mjs';
import { gone } from './lib/procs.mjs';
import { asan, bySignal, start } from './lib/server.mjs';

const server = await start({ after }, {
  env: bySignal,
  socket: { join_timeout: '600s' }, // but where it is what counts
  channels: {
    'test:*': { intensity: 1000, period: '60s' },
    'two:*': { intensity: 2, period: '600s' },
    'short:*': { intensity: 1, period: '1s' },
    'endless:*': { intensity: 0 },
    'temporary:*': { restart: 'temporary' },
    'permanent:*': { restart: 'permanent', intensity: 3, period: '600s' },
    'memory:*': { memory_max: '16M', limit_nofile: 20, intensity: 100 },
    'bare:*': { module: 'systest.so:bare' },
  },
});

let topics = 0;
const unique = (prefix = 'test') => `${prefix}:${++topics}`;

const socket = async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  return client;
};

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

// The one line that tells of a death.
const death = (topic, pid, rest) =>
  server.log(new RegExp(`channel_sup: \\w+: ${escape(topic)}\\[${pid}\\] ${rest}$`));

const events = (client) => client.frames.map((f) => f[3]);

// Every way to die: the deed, and how the log calls it.
const ways = [
  [{ do: 'kill' }, 'killed'],
  [{ do: 'segv' }, 'signal 11 \\(Segmentation fault(, core dumped)?\\)'],
  [{ do: 'abort' }, 'signal 6 \\(Aborted(, core dumped)?\\)'],
  [{ do: 'kill', signal: 8 }, 'signal 8 \\(Floating point exception(, core dumped)?\\)'],
  [{ do: 'exit', status: 3 }, 'exit 3'],
  [{ do: 'exit', status: 1 }, 'exit 1'],
  [{ do: 'exit', status: 255 }, 'exit 255'],
  [{ do: 'bad_json' }, 'exit 1'],
  [{ do: 'no such deed' }, 'exit 1'],
];

for (const [deed, words] of ways)
  test(`dies by ${JSON.stringify(deed)}, is started again, and answers`, async (t) => {
    const topic = unique();
    const client = await socket(t);
    const sibling = await client.join(unique());
    const channel = await client.join(topic, { mine: [1] });
    const { channel: pid } = await channel.pids();
    client.frames.length = 0;
    const fatal = channel.send('do', deed);
    const behind = [1, 2, 3].map((n) => channel.send('echo', { n }));
    const last = channel.send('about');
    const about = (await channel.reply(last)).response;
    assert.deepEqual(client.frames.slice(0, 4), [
      [channel.joinRef, fatal, topic, 'phx_reply', CRASHED],
      ...behind.map((ref, i) => [
        channel.joinRef, ref, topic, 'phx_reply', { status: 'ok', response: { n: i + 1 } },
      ]),
    ]);
    assert.equal(client.frames.length, 5, 'nothing else is sent');
    assert.notEqual(about.pid, pid);
    assert.equal(about.restarts, 1);
    assert.equal(about.events, 4);
    assert.equal(about.join_ref, `"${channel.joinRef}"`);
    assert.deepEqual(about.params, { mine: [1] });
    await sibling.ok('echo');
    await death(topic, pid, `transient: ${words}, restart 1 of 1000 in 60 s, last event do`);
    assert.equal(server.count(new RegExp(`channel_sup: .*${escape(topic)}\\[${pid}\\]`)), 1, 'one line');
  });

test('killed while it waits: a restart without any frame', async (t) => {
  const client = await socket(t);
  const topic = unique();
  const channel = await client.join(topic);
  const { channel: pid } = await channel.pids();
  client.frames.length = 0;
  process.kill(pid, 'SIGKILL');
  await death(topic, pid, 'transient: killed, restart 1 of 1000 in 60 s, last event about');
  assert.equal((await channel.about()).restarts, 1);
  assert.equal(client.frames.length, 1);
});

test('killed before any event', async (t) => {
  const client = await socket(t);
  const topic = unique();
  await client.join(topic);
  const process_ = server.workers('channel').find((p) => p.title.includes(` ${topic} `));
  process.kill(process_.pid, 'SIGKILL');
  await death(topic, process_.pid, 'transient: killed, restart 1 of 1000 in 60 s, before any event');
});

test('SIGTERM from somebody else ends a channel, normally', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  const { channel: pid } = await channel.pids();
  process.kill(pid, 'SIGTERM');
  await channel.event('phx_close');
  await server.log(new RegExp(`\\[${pid}\\]: terminate shutdown ''`));
});

test('the fatal message without a ref gets no answer', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  client.frames.length = 0;
  client.frame([channel.joinRef, null, channel.topic, 'do', { do: 'abort' }]);
  await channel.ok('echo');
  assert.equal(client.frames.length, 1);
});

test('a message that was answered before the crash is not answered again', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  client.frames.length = 0;
  const ref = channel.send('stop', { reason: 'error', reply: true });
  assert.deepEqual(await channel.reply(ref), { status: 'ok', response: { bye: true } });
  assert.equal((await channel.about()).restarts, 1);
  assert.equal(client.frames.length, 2);
});

test('what was said before the crash arrives, in order', async (t) => {
  const client = await socket(t);
  const other = await socket(t);
  const channel = await client.join(unique());
  await other.join(channel.topic);
  client.frames.length = 0;
  const broadcast = channel.send('broadcast', { n: 3 });
  const fatal = channel.send('do', { do: 'kill' });
  const echo = channel.send('echo');
  await channel.reply(echo);
  assert.deepEqual(client.frames.map((f) => f[1] ?? f[3]), [
    'news', 'news', 'news', broadcast, fatal, echo,
  ]);
  for (let i = 0; i < 3; i++) assert.deepEqual((await other.event(channel.topic, 'news'))[4], { i });
});

test('kept references are answered with the error, once', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  const kept = [channel.send('keep'), channel.send('keep')];
  await channel.ok('echo');
  client.frames.length = 0;
  const fatal = channel.send('do', { do: 'segv' });
  assert.deepEqual(await channel.reply(fatal), CRASHED);
  for (const ref of kept) assert.deepEqual(await channel.reply(ref), CRASHED);
  assert.deepEqual(await channel.ok('answer'), {});
  assert.equal(client.frames.length, 4);
});

test('timers of the old incarnation never fire', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  await channel.ok('timer', { ms: 300, event: 'old' });
  const fatal = channel.send('do', { do: 'kill' });
  assert.deepEqual(await channel.reply(fatal), CRASHED);
  await channel.ok('timer', { ms: 400, event: 'young' });
  await channel.event('young');
  // On a slow machine it may have been due before the crash.
  const behind = client.frames.slice(client.frames.findIndex((f) => f[1] === fatal));
  assert.ok(!behind.some((f) => f[3] === 'old'));
});

test('a timer of the join is set anew', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique(), { timer: { event: 'after_join' } });
  await channel.event('after_join');
  await channel.call('do', { do: 'kill' });
  await channel.event('after_join');
});

test('extra subscriptions are dropped, the own one stays', async (t) => {
  const client = await socket(t);
  const sender = await (await socket(t)).join(unique());
  const channel = await client.join(unique());
  await channel.ok('subscribe', { topic: 'news' });
  await channel.call('do', { do: 'kill' });
  await channel.ok('echo');
  await sender.ok('broadcast', { to: 'news', event: 'lost' });
  await sender.ok('broadcast', { to: channel.topic, event: 'found' });
  await channel.event('found');
  await channel.ok('subscribe', { topic: 'news' });
  await sender.ok('broadcast', { to: 'news', event: 'again' });
  assert.equal((await channel.event('info'))[4].event, 'again');
  assert.equal(events(client).filter((e) => e === 'info').length, 1);
});

test('broadcasts reach the client while its channel is down', async (t) => {
  const client = await socket(t);
  const sender = await (await socket(t)).join(unique());
  const gate = path.join(server.directory, 'rejoin-gate');
  const channel = await client.join(unique(), { rejoin: { do: 'wait_file', path: gate } });
  assert.deepEqual(await channel.call('do', { do: 'kill' }), CRASHED);
  await sender.ok('broadcast', { to: channel.topic, event: 'meanwhile' });
  await channel.event('meanwhile');
  fs.writeFileSync(gate, '');
  await channel.ok('echo');
});

test('a broadcast from another topic that kills its handler is gone, the next is not', async (t) => {
  const client = await socket(t);
  const sender = await (await socket(t)).join(unique());
  const topic = unique();
  const channel = await client.join(topic);
  const { channel: pid } = await channel.pids();
  await channel.ok('subscribe', { topic: 'deadly' });
  await sender.ok('broadcast', { to: 'deadly', event: 'crash' });
  await death(topic, pid, 'transient: signal 6 .*, last event crash');
  assert.equal((await channel.about()).restarts, 1);
});

// ---- timers ----

for (const [name, deeds, more] of [
  ['segv', [{ do: 'segv' }]],
  ['exit(3)', [{ do: 'exit', status: 3 }]],
  ['stop with an error', [], { stop: true }],
])
  test(`a timer that ends by ${name} leaves the waiting message alone`, async (t) => {
    const client = await socket(t);
    const topic = unique();
    const channel = await client.join(topic);
    const { channel: pid } = await channel.pids();
    // It runs until the message lies in the mailbox; then it ends.
    await channel.ok('timer', {
      event: 'deadly',
      do: 'sequence',
      deeds: [{ do: 'wait_mail' }, ...deeds],
      ...more,
    });
    client.frames.length = 0;
    const waiting = channel.send('echo', { n: 1 });
    const behind = channel.send('about');
    assert.equal((await channel.reply(behind)).response.restarts, 1);
    assert.deepEqual(client.frames[0], [
      channel.joinRef, waiting, topic, 'phx_reply', { status: 'ok', response: { n: 1 } },
    ]);
    await death(topic, pid, 'transient: .*, restart 1 of 1000 in 60 s, last event deadly');
  });

// ---- stop ----

for (const reason of ['normal', 'shutdown'])
  for (const reply of [true, false])
    test(`stop ${reason} with${reply ? '' : 'out'} a reply: phx_close, no restart`, async (t) => {
      const client = await socket(t);
      const channel = await client.join(unique());
      const { channel: pid } = await channel.pids();
      client.frames.length = 0;
      const ref = channel.send('stop', { reason, detail: 'because', ...(reply && { reply }) });
      await channel.event('phx_close');
      assert.deepEqual(client.frames.map((f) => [f[0], f[1], f[3]]), [
        ...(reply ? [[channel.joinRef, ref, 'phx_reply']] : []),
        [channel.joinRef, channel.joinRef, 'phx_close'],
      ]);
      await gone(pid);
      await server.log(new RegExp(`\\[${pid}\\]: terminate ${reason} 'because'`));
      assert.deepEqual(await channel.call('echo'), UNMATCHED);
      await client.join(channel.topic);
    });

test('stop with an error: terminate runs, then it is started again', async (t) => {
  const client = await socket(t);
  const topic = unique();
  const channel = await client.join(topic, { terminate: 'broadcast' });
  const { channel: pid } = await channel.pids();
  client.frames.length = 0;
  const fatal = channel.send('stop', { reason: 'error', detail: 'oops' });
  const behind = [1, 2, 3].map((n) => channel.send('echo', { n }));
  const about = await channel.about();
  assert.equal(about.restarts, 1);
  assert.equal(about.events, 4);
  assert.deepEqual(client.frames.slice(0, 5).map((f) => f[1] ?? f[3]), ['terminated', fatal, ...behind]);
  assert.deepEqual(client.frames[1][4], CRASHED);
  for (const frame of client.frames.slice(2, 5)) assert.equal(frame[4].status, 'ok');
  await server.log(new RegExp(`\\[${pid}\\]: terminate error 'oops'`));
  await death(topic, pid, 'transient: exit 1, restart 1 of 1000 in 60 s, last event stop');
});

test('an author who calls exit(0) ends it normally: phx_close', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  channel.send('do', { do: 'exit', status: 0 });
  await channel.event('phx_close');
  assert.deepEqual(await channel.call('echo'), UNMATCHED);
});

// ---- limits of restarts ----

test('exactly `intensity` restarts; one more is phx_error, and a join begins anew', async (t) => {
  const client = await socket(t);
  const topic = unique('two');
  const channel = await client.join(topic);
  for (let i = 1; i <= 2; i++) {
    const { pid } = await channel.about();
    assert.deepEqual(await channel.call('do', { do: 'kill' }), CRASHED);
    assert.equal((await channel.about()).restarts, i);
    await death(topic, pid, `transient: killed, restart ${i} of 2 in 600 s, last event do`);
  }
  const { pid } = await channel.about();
  channel.send('do', { do: 'kill' });
  assert.deepEqual(await channel.event('phx_error'), [
    channel.joinRef, channel.joinRef, topic, 'phx_error', { reason: 'channel_crash' },
  ]);
  await death(topic, pid, 'transient: killed, restart 3 of 2 in 600 s: given up, last event do');
  assert.deepEqual(await channel.call('echo'), UNMATCHED);
  assert.equal((await (await client.join(topic)).about()).restarts, 0);
});

test('restarts that are a period ago do not count', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique('short'));
  for (let i = 1; i <= 3; i++) {
    await channel.call('do', { do: 'kill' });
    assert.equal((await channel.about()).restarts, i);
    const began = performance.now();
    // The period itself has to pass: nothing tells of that.
    await channel.ok('timer', { ms: 1100, event: `passed${i}` });
    await channel.event(`passed${i}`);
    assert.ok(performance.now() - began >= 1000);
  }
});

test('the limit counts for one channel, not for its siblings', async (t) => {
  const client = await socket(t);
  const channels = [await client.join(unique('two')), await client.join(unique('two'))];
  for (let i = 1; i <= 2; i++)
    for (const channel of channels) {
      await channel.call('do', { do: 'kill' });
      assert.equal((await channel.about()).restarts, i);
    }
});

test('intensity 0 is no limit', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique('endless'));
  for (let i = 1; i <= 15; i++) {
    await channel.call('do', { do: 'kill' });
    assert.equal((await channel.about()).restarts, i);
  }
});

test('a temporary channel is not started again: phx_error, nothing else', async (t) => {
  const client = await socket(t);
  const topic = unique('temporary');
  const channel = await client.join(topic);
  const { channel: pid } = await channel.pids();
  client.frames.length = 0;
  channel.send('do', { do: 'segv' });
  channel.send('echo');
  await channel.event('phx_error');
  await client.heartbeat();
  assert.equal(client.frames.filter((f) => f[3] === 'phx_error').length, 1);
  assert.ok(!client.frames.some((f) => f[4]?.response?.reason === 'channel crashed'));
  await death(topic, pid, 'temporary: signal 11 .*, last event do');
  assert.equal(server.workers('channel').filter((p) => p.title.includes(` ${topic} `)).length, 0);
});

test('a permanent channel is started again also after a normal end', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique('permanent'));
  channel.send('stop', { reason: 'normal' });
  assert.equal((await channel.about()).restarts, 1);
  await channel.leave();
  await channel.event('phx_close');
});

// ---- the join, run again ----

test('phx_error when the join, run again, refuses', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique(), { refuse_again: true });
  channel.send('do', { do: 'kill' });
  await channel.event('phx_error');
  assert.deepEqual(await channel.call('echo'), UNMATCHED);
});

for (const deed of [{ do: 'abort' }, { do: 'exit', status: 0 }, { do: 'garbage' }, { do: 'push' }])
  test(`phx_error when the join, run again, ends by ${JSON.stringify(deed)}`, async (t) => {
    const client = await socket(t);
    const channel = await client.join(unique(), { rejoin: deed });
    channel.send('do', { do: 'kill' });
    channel.send('echo');
    await channel.event('phx_error');
    await client.heartbeat();
    assert.equal(events(client).filter((e) => e === 'phx_error').length, 1);
    await client.join(channel.topic);
  });

for (const deed of ['hang', 'loop', 'deaf_loop'])
  test(`phx_error when the join, run again, is in ${deed} longer than join_timeout`, async (t) => {
    const own = await start(t, { env: bySignal, socket: { join_timeout: '1s' } });
    const client = await own.connect();
    t.after(() => client.close());
    const topic = unique();
    const channel = await client.join(topic, { rejoin: { do: deed } });
    const began = performance.now();
    channel.send('do', { do: 'kill' });
    await client.heartbeat(); // the socket goes on meanwhile
    await channel.event('phx_error');
    assert.ok(performance.now() - began >= 999); // it counts whole ones
    await own.log(new RegExp(`channel ${escape(topic)}\\[\\d+\\]: its join, run again, hangs \\(join_timeout\\); killed`));
  });

test('phx_error comes after such crashes only: a whole life without one', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  for (const deed of ['kill', 'segv', 'abort', 'bad_json', 'garbage']) {
    await channel.call('do', { do: deed });
    await channel.ok('echo');
  }
  await channel.leave();
  await channel.event('phx_close');
  await client.heartbeat();
  assert.ok(!events(client).includes('phx_error'));
});

// ---- leaving, joining again, meanwhile ----

test('a leave behind the message that kills', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique());
  client.frames.length = 0;
  const fatal = channel.send('do', { do: 'kill' });
  const echo = channel.send('echo');
  const leave = channel.send('phx_leave');
  await channel.event('phx_close');
  assert.deepEqual(client.frames.map((f) => [f[1], f[4].status]), [
    [fatal, 'error'], [echo, 'ok'], [leave, 'ok'], [channel.joinRef, undefined],
  ]);
});

test('a leave while the join runs again', async (t) => {
  const client = await socket(t);
  const gate = path.join(server.directory, 'leave-gate');
  const channel = await client.join(unique(), { rejoin: { do: 'wait_file', path: gate } });
  assert.deepEqual(await channel.call('do', { do: 'kill' }), CRASHED);
  const leave = channel.send('phx_leave');
  await client.heartbeat();
  fs.writeFileSync(gate, '');
  assert.equal((await channel.reply(leave)).status, 'ok');
  await channel.event('phx_close');
  await client.heartbeat();
  assert.ok(!events(client).includes('phx_error'));
});

test('a leave, and the join run again crashes: it has left all the same', async (t) => {
  const client = await socket(t);
  const gate = path.join(server.directory, 'crash-gate');
  const channel = await client.join(unique(), {
    rejoin: { do: 'sequence', deeds: [{ do: 'wait_file', path: gate }, { do: 'abort' }] },
  });
  channel.send('do', { do: 'kill' });
  const leave = channel.send('phx_leave');
  await client.heartbeat();
  fs.writeFileSync(gate, '');
  assert.equal((await channel.reply(leave)).status, 'ok');
  await channel.event('phx_close');
  assert.ok(!events(client).includes('phx_error'));
});

test('a crash in terminate at a leave: it has left', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique(), { terminate: { do: 'segv' } });
  const leave = channel.send('phx_leave');
  assert.equal((await channel.reply(leave)).status, 'ok');
  await channel.event('phx_close');
  await client.heartbeat();
  assert.ok(!events(client).includes('phx_error'));
});

test('a second join while the join runs again', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique(), { rejoin: { do: 'hang' } });
  assert.deepEqual(await channel.call('do', { do: 'kill' }), CRASHED);
  client.frames.length = 0;
  const young = await client.join(channel.topic, { n: 2 });
  await channel.event('phx_close');
  assert.deepEqual(client.frames.map((f) => [f[1], f[3]]), [
    [young.joinRef, 'phx_reply'],
    [channel.joinRef, 'phx_close'],
  ]);
  const about = await young.about();
  assert.deepEqual([about.restarts, about.params], [0, { n: 2 }]);
});

test('leave and second join behind the message that kills', async (t) => {
  const client = await socket(t);
  const old = await client.join(unique());
  old.send('do', { do: 'kill' });
  const leave = old.send('phx_leave');
  const young = await client.join(old.topic);
  assert.equal((await client.reply(leave)).status, 'ok');
  assert.equal((await old.event('phx_close'))[0], old.joinRef);
  assert.equal((await young.about()).restarts, 0);
});

// ---- limits of a process ----

test('a channel that eats memory dies at memory_max, alone', { skip: asan && 'a sanitizer has its own limits' }, async (t) => {
  const client = await socket(t);
  const topic = unique('memory');
  const channel = await client.join(topic);
  const { channel: pid } = await channel.pids();
  assert.deepEqual(await channel.call('do', { do: 'eat_memory' }), CRASHED);
  await death(topic, pid, 'transient: signal 6 .*, last event do');
  await channel.ok('echo', { big: 'x'.repeat(1_000_000) });
});

test('a channel has no more descriptors than limit_nofile', async (t) => {
  const client = await socket(t);
  const channel = await client.join(unique('memory'));
  await channel.ok('do', { do: 'eat_descriptors' });
  assert.deepEqual((await channel.event('descriptors'))[4], { n: 16 });
});

test('a channel that joins and crashes in its first timer, again and again, is given up', async (t) => {
  const client = await socket(t);
  const channel = new Channel(client, unique('two'), { timer: { do: 'abort' } });
  assert.equal((await channel.joined()).status, 'ok');
  await channel.event('phx_error');
  await client.heartbeat();
});
