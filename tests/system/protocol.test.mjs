// What the socket does with a message, how a channel ends, and in which order
// things come (PROTOCOL.md 2, 3 and 4).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { Channel, encode, UNMATCHED } from './lib/client.mjs';
import { gone } from './lib/procs.mjs';
import { start } from './lib/server.mjs';

const server = await start({ after }, {
  socket: { max_channels: 5 },
  channels: {
    'test:exact': { options: { colour: 'green' } },
    'test:*': {},
    'phx:*': { restart: 'temporary' },
    'bare:*': { module: 'systest.so:bare' },
    'slow:*': { shutdown: '60s' },
  },
});

// A reply to who broadcasts does not wait for pubsub: what one test broadcasts
// may be accepted while the next one runs. So each such has topics of its own.

const socket = async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  return client;
};

const frames = (client) => client.frames.map(([j, r, , event]) => [j, r, event]);

// ---- the socket ----

test('a heartbeat is answered without a join_ref', async (t) => {
  const client = await socket(t);
  client.frame(['9', '1', 'phoenix', 'heartbeat', { any: 1 }]);
  await client.reply('1');
  assert.deepEqual(client.frames, [
    [null, '1', 'phoenix', 'phx_reply', { status: 'ok', response: {} }],
  ]);
});

test('refs of any type come back as they are', async (t) => {
  const client = await socket(t);
  for (const ref of [7, null, true, { a: [1] }, 'x"y']) {
    client.frame([null, ref, 'phoenix', 'heartbeat', {}]);
    const [, back] = await client.take((f) => f[3] === 'phx_reply', 'a reply');
    assert.deepEqual(back, ref);
  }
});

test('what matches no pattern is an unmatched topic', async (t) => {
  const client = await socket(t);
  for (const topic of ['nobody:1', 'test', 'TEST:1', '', 'phoenix']) {
    client.frame(['4', '5', topic, 'phx_join', {}]);
    const frame = await client.take((f) => f[1] === '5', 'the reply');
    assert.deepEqual(frame, [null, '5', topic, 'phx_reply', UNMATCHED]);
  }
  client.frame(['4', '6', 17, 'phx_join', {}]);
  assert.deepEqual(await client.take((f) => f[1] === '6', 'the reply'), [
    null, '6', 17, 'phx_reply', UNMATCHED,
  ]);
});

test('an event for a topic that is not joined is answered with unmatched topic', async (t) => {
  const client = await socket(t);
  client.send('1', 'test:a', 'echo', {}, '2');
  assert.deepEqual(await client.take((f) => f[1] === '2', 'the reply'), [
    null, '2', 'test:a', 'phx_reply', UNMATCHED,
  ]);
});

test('the first pattern that matches counts, and hands its options over', async (t) => {
  const client = await socket(t);
  assert.equal((await (await client.join('test:exact')).about()).colour, 'green');
  assert.equal((await (await client.join('test:')).about()).colour, '');
});

test('a join is answered with its response, or {}', async (t) => {
  const client = await socket(t);
  client.frame(['3', '4', 'test:a', 'phx_join', { response: { hello: [1] } }]);
  assert.deepEqual(await client.take((f) => f[1] === '4', 'the reply'), [
    '3', '4', 'test:a', 'phx_reply', { status: 'ok', response: { hello: [1] } },
  ]);
  assert.deepEqual(await new Channel(client, 'test:b').joined(), { status: 'ok', response: {} });
});

test('a refused join leaves nothing behind', async (t) => {
  const client = await socket(t);
  const channel = new Channel(client, 'test:no', { refuse: true });
  assert.deepEqual(await channel.joined(), { status: 'error', response: { reason: 'refused' } });
  assert.deepEqual(await channel.call('echo'), UNMATCHED);
  assert.deepEqual(frames(client).map((f) => f[2]), ['phx_reply', 'phx_reply']);
});

for (const deed of ['segv', 'abort', 'kill', 'push', 'bad_json', 'garbage', 'close'])
  test(`a join that ends by ${deed} is answered with join crashed`, async (t) => {
    const client = await socket(t);
    const other = await client.join('test:other');
    const channel = new Channel(client, 'test:crash', { join: { do: deed } });
    assert.deepEqual(await channel.joined(), {
      status: 'error',
      response: { reason: 'join crashed' },
    });
    assert.deepEqual(await channel.call('echo'), UNMATCHED);
    assert.deepEqual(await other.ok('echo', { a: 1 }), { a: 1 });
  });

test('a join holds up what follows on its socket, not on others', async (t) => {
  const client = await socket(t);
  const other = await socket(t);
  const gate = path.join(server.directory, 'join-gate');
  const channel = new Channel(client, 'test:slow', { join: { do: 'wait_file', path: gate } });
  const heartbeat = client.send(null, 'phoenix', 'heartbeat');
  const echo = channel.send('echo', { n: 1 });
  await other.heartbeat();
  assert.deepEqual(client.frames, []);
  fs.writeFileSync(gate, '');
  assert.deepEqual(await channel.reply(echo), { status: 'ok', response: { n: 1 } });
  await client.reply(heartbeat);
  assert.equal(client.frames[0][1], channel.joinRef);
});

test('more channels than max_channels are refused, and a leave makes room', async (t) => {
  const client = await socket(t);
  const channels = [];
  for (let i = 0; i < 5; i++) channels.push(await client.join(`test:${i}`));
  const sixth = new Channel(client, 'test:6');
  assert.deepEqual(await sixth.joined(), {
    status: 'error',
    response: { reason: 'too many channels joined' },
  });
  await client.join('test:0'); // joined already: fine
  await client.heartbeat();
  await channels[1].leave();
  await channels[1].event('phx_close');
  await client.join('test:6');
});

test('without join_ref the ref of the join takes its place', async (t) => {
  const client = await socket(t);
  client.frame([null, '8', 'test:a', 'phx_join', {}]);
  assert.deepEqual(await client.take((f) => f[1] === '8', 'the reply'), [
    null, '8', 'test:a', 'phx_reply', { status: 'ok', response: {} },
  ]);
  client.frame([null, '9', 'test:a', 'push', {}]);
  assert.equal((await client.event('test:a', 'item'))[0], '8');
  client.frame(['8', '10', 'test:a', 'echo', {}]); // stale
  client.frame([null, '11', 'test:a', 'stop', {}]);
  assert.deepEqual(await client.event('test:a', 'phx_close'), [null, null, 'test:a', 'phx_close', {}]);
  assert.ok(!client.frames.some((f) => f[1] === '10'));
});

test('a message with another join_ref is stale and vanishes', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  client.send('999', 'test:a', 'echo', {}, 'stale');
  client.send(Number(channel.joinRef), 'test:a', 'echo', {}, 'number');
  client.send(null, 'test:a', 'echo', { n: 1 }, 'null');
  assert.deepEqual(await client.reply('null'), { status: 'ok', response: { n: 1 } });
  await channel.ok('echo');
  assert.deepEqual(client.frames.filter((f) => ['stale', 'number'].includes(f[1])), []);
});

test('phx_leave: the answer, then phx_close, then not joined', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  const { channel: pid } = await channel.pids();
  client.frames.length = 0;
  const first = channel.send('phx_leave');
  await channel.event('phx_close');
  assert.deepEqual(client.frames, [
    [channel.joinRef, first, 'test:a', 'phx_reply', { status: 'ok', response: {} }],
    [channel.joinRef, channel.joinRef, 'test:a', 'phx_close', {}],
  ]);
  await gone(pid);
  await server.log(new RegExp(`\\[${pid}\\]: terminate left ''`));
  assert.deepEqual(await channel.call('echo'), UNMATCHED);
  assert.deepEqual(await channel.leave(), { status: 'ok', response: {} });
  await client.heartbeat();
  assert.equal(client.frames.filter((f) => f[3] === 'phx_close').length, 1);
});

test('a leave waits for the events before it', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  client.frames.length = 0;
  const refs = [1, 2, 3].map((n) => channel.send('echo', { n }));
  const leave = channel.send('phx_leave');
  await channel.event('phx_close');
  assert.deepEqual(client.frames.map((f) => f[1]), [...refs, leave, channel.joinRef]);
});

test('a leave with another join_ref is ignored', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  client.send('999', 'test:a', 'phx_leave');
  await channel.ok('echo');
});

test('leave and join in one burst', async (t) => {
  const client = await socket(t);
  const old = await client.join('test:burst');
  const leave = old.send('phx_leave');
  const young = new Channel(client, 'test:burst');
  assert.equal((await young.joined()).status, 'ok');
  assert.equal((await client.reply(leave)).status, 'ok');
  assert.equal((await client.event('test:burst', 'phx_close'))[0], old.joinRef);
  await young.ok('broadcast', { event: 'once' });
  await young.ok('echo');
  assert.equal(client.frames.filter((f) => f[3] === 'once').length, 1);
  assert.equal(client.frames.filter((f) => f[3] === 'phx_close').length, 1);
});

// ---- a second join ----

test('a second join replaces the channel: first its answer, then phx_close', async (t) => {
  const client = await socket(t);
  const old = await client.join('test:replaced', { timer: { ms: 3_600_000 } });
  const { channel: pid } = await old.pids();
  await old.ok('subscribe', { topic: 'news:replaced' });
  client.frames.length = 0;
  const young = await client.join('test:replaced', { response: { n: 2 } });
  await old.event('phx_close');
  assert.deepEqual(frames(client), [
    [young.joinRef, young.joinRef, 'phx_reply'],
    [old.joinRef, old.joinRef, 'phx_close'],
  ]);
  await gone(pid);
  assert.equal(server.count(new RegExp(`\\[${pid}\\]: terminate`)), 0);
  const { events, params } = await young.about();
  assert.deepEqual([events, params], [1, { response: { n: 2 } }]);
  await young.ok('broadcast', { event: 'once' });
  await young.ok('broadcast', { to: 'news:replaced', event: 'never' });
  await young.ok('echo');
  assert.equal(client.frames.filter((f) => f[3] === 'once').length, 1);
  assert.ok(!client.frames.some((f) => f[3] === 'info'));
});

for (const deed of ['loop', 'deaf_loop', 'hang'])
  test(`a second join does not wait for a channel that is in ${deed}`, async (t) => {
    const client = await socket(t);
    const old = await client.join('test:a');
    const { channel: pid } = await old.pids();
    old.send('do', { do: deed });
    old.send('echo', { lost: true });
    client.frames.length = 0;
    const young = await client.join('test:a');
    await old.event('phx_close');
    assert.deepEqual(frames(client), [
      [young.joinRef, young.joinRef, 'phx_reply'],
      [old.joinRef, old.joinRef, 'phx_close'],
    ]);
    await gone(pid);
    await young.ok('echo');
  });

test('a second join that is refused: the old channel is gone all the same', async (t) => {
  const client = await socket(t);
  const old = await client.join('test:a');
  const young = new Channel(client, 'test:a', { refuse: true });
  assert.equal((await young.joined()).status, 'error');
  await old.event('phx_close');
  assert.deepEqual(await old.call('echo'), UNMATCHED);
});

test('a second join while the first channel is leaving', async (t) => {
  const client = await socket(t);
  const gate = path.join(server.directory, 'leave-gate');
  const old = await client.join('slow:leaving');
  const busy = old.send('do', { do: 'wait_file', path: gate });
  const leave = old.send('phx_leave');
  const young = await client.join('slow:leaving');
  await young.ok('echo');
  fs.writeFileSync(gate, '');
  assert.equal((await client.reply(busy)).status, 'ok');
  assert.equal((await client.reply(leave)).status, 'ok');
  assert.equal((await old.event('phx_close'))[0], old.joinRef);
  await young.ok('broadcast', { event: 'once' });
  await young.ok('echo');
  assert.equal(client.frames.filter((f) => f[3] === 'once').length, 1);
  assert.equal(client.frames.filter((f) => f[3] === 'phx_close').length, 1);
});

// ---- events ----

test('a reply has any status, and {} without a response', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  assert.deepEqual(await channel.call('status', { status: 'error', response: [1, 2] }), {
    status: 'error',
    response: [1, 2],
  });
  assert.deepEqual(await channel.call('status', { status: 'later' }), {
    status: 'later',
    response: {},
  });
});

test('an event without a reply gets none', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  client.frames.length = 0;
  channel.send('quiet');
  const last = channel.send('echo');
  await channel.reply(last);
  assert.deepEqual(frames(client), [[channel.joinRef, last, 'phx_reply']]);
});

test('payloads come back byte by byte', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  const texts = [
    '{"n":123456789012345678901234567890,"f":1.000,"e":1e400}',
    '{"nul":"a\\u0000b","ls":"\\u2028","astral":"\\ud83d\\ude00","z":"ü😀"}',
    '[]', 'null', '"text"', '12', 'true', '{"a":{"a":1,"a":2}}',
    `${'['.repeat(5000)}${']'.repeat(5000)}`,
  ];
  const raw = new Map();
  client.socket.on('message', (data) => {
    const text = data.toString();
    raw.set(JSON.parse(text)[1], text);
  });
  for (const text of texts) {
    const ref = client.nextRef();
    client.raw(`["${channel.joinRef}","${ref}","test:a","echo",${text}]`);
    await client.reply(ref);
    assert.ok(
      raw.get(ref).endsWith(`{"status":"ok","response":${text}}]`),
      `${text} became ${raw.get(ref)}`,
    );
  }
});

test('frames with white space and more than five elements are fine', async (t) => {
  const client = await socket(t);
  client.raw(' [ null , "1" ,\n"phoenix","heartbeat",{ } , 6, [7] ] ');
  await client.reply('1');
});

test('topics are any strings', async (t) => {
  const client = await socket(t);
  for (const topic of ['test:a b', 'test:ü😀', 'test:"q"', `test:${'x'.repeat(1000)}`, 'test:a\u0000b']) {
    const channel = await client.join(topic);
    await channel.ok('broadcast');
    assert.equal((await channel.event('news'))[2], topic);
    await channel.leave();
    await channel.event('phx_close');
  }
});

test('binary frames work as their text form', async (t) => {
  const client = await socket(t);
  client.raw(encode('', '1', 'phoenix', 'heartbeat', Buffer.alloc(0)));
  assert.equal((await client.reply('1')).status, 'ok');
  client.raw(encode('2', '2', 'test:b', 'phx_join', Buffer.from('{}')));
  assert.equal((await client.reply('2')).status, 'ok');
  const bytes = Buffer.from([0, 255, 1, 254]);
  client.raw(encode('2', '3', 'test:b', 'echo', bytes));
  const reply = await client.take((f) => f[1] === '3', 'the reply');
  assert.deepEqual(reply, ['2', '3', 'test:b', 'phx_reply', { status: 'ok', response: bytes }]);
  client.raw(encode('2', '4', 'test:b', 'echo', Buffer.alloc(0)));
  assert.deepEqual((await client.reply('4')).response, Buffer.alloc(0));
  client.raw(encode('2', '5', 'test:b', 'phx_leave', Buffer.alloc(0)));
  assert.deepEqual(await client.reply('5'), { status: 'ok', response: {} });
  await client.event('test:b', 'phx_close');
});

test('a channel sends binary pushes, broadcasts and replies', async (t) => {
  const client = await socket(t);
  const other = await socket(t);
  const channel = await client.join('test:b');
  await other.join('test:b');
  const bytes = Buffer.from([0, 1, 2, 0xfe, 0xff]);
  client.frames.length = 0;
  const ref = channel.send('bytes');
  assert.deepEqual((await channel.reply(ref)).response, bytes);
  assert.deepEqual(client.frames, [
    [channel.joinRef, null, 'test:b', 'bytes', bytes],
    [null, null, 'test:b', 'bytes', bytes],
    [channel.joinRef, ref, 'test:b', 'phx_reply', { status: 'ok', response: bytes }],
  ]);
  assert.deepEqual(await other.event('test:b', 'bytes'), [null, null, 'test:b', 'bytes', bytes]);
});

test('a kept message is answered later, more than once, and overtaken', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:a');
  const kept = channel.send('keep');
  await channel.ok('echo');
  client.frames.length = 0;
  const answer = channel.send('answer', { n: 2 });
  await channel.reply(answer);
  assert.deepEqual(client.frames.map((f) => [f[1], f[4].response.answer]), [
    [kept, 0], [kept, 1], [answer, undefined],
  ]);
});

for (const [event, payload] of [
  ['no_such_event', {}],
  ['result', { result: 3 }],
  ['result', { result: 2 }],
  ['result', { result: 77 }],
  ['do', { do: 'bad_json' }],
  ['do', { do: 'reply_twice' }],
  ['phx_close', {}],
])
  test(`a temporary channel crashes of ${event} ${JSON.stringify(payload)}`, async (t) => {
    const client = await socket(t);
    const channel = await client.join('phx:a');
    channel.send(event, payload);
    assert.deepEqual(await channel.event('phx_error'), [
      channel.joinRef, channel.joinRef, 'phx:a', 'phx_error', { reason: 'channel_crash' },
    ]);
    assert.deepEqual(await channel.call('echo'), UNMATCHED);
  });

test('an event that is no string crashes the channel', async (t) => {
  const client = await socket(t);
  const channel = await client.join('phx:a');
  client.frame([channel.joinRef, '99', 'phx:a', 5, {}]);
  await channel.event('phx_error');
});

test('a channel without handle_in and handle_info', async (t) => {
  const client = await socket(t);
  await client.join('bare:a');
  await server.log(/has no handle_info: 'nobody_handles_this' ignored/);
});

// ---- order ----

test('pushes, broadcasts and the reply come in the order in which they were made', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:mixed');
  for (let i = 0; i < 20; i++) {
    client.frames.length = 0;
    channel.send('mixed');
    await channel.event('five');
    assert.deepEqual(client.frames.map((f) => f[3]), ['one', 'two', 'phx_reply', 'four', 'five']);
    assert.deepEqual(client.frames.map((f) => f[0]), [
      channel.joinRef, null, channel.joinRef, channel.joinRef, null,
    ]);
  }
});

test('the answer to a join comes before all that the channel sends', async (t) => {
  const client = await socket(t);
  for (let i = 0; i < 20; i++) {
    client.frames.length = 0;
    const channel = new Channel(client, 'test:answer', { timer: { event: 'after_join' } });
    channel.send('mixed');
    await channel.event('after_join');
    await channel.event('five');
    assert.equal(client.frames[0][1], channel.joinRef, JSON.stringify(client.frames));
    assert.equal(client.frames[0][3], 'phx_reply');
  }
});

test('what is broadcast after the answer to a join reaches that client', async (t) => {
  const sender = await (await socket(t)).join('test:news');
  for (let i = 0; i < 20; i++) {
    const client = await server.connect();
    await client.join('test:news');
    await sender.ok('broadcast', { event: `number${i}` });
    await client.event('test:news', `number${i}`);
    await client.close();
  }
});

test('broadcasts reach all in the order sent, the sender too', async (t) => {
  const clients = await Promise.all([1, 2, 3].map(() => socket(t)));
  const channels = await Promise.all(clients.map((client) => client.join('test:all')));
  const n = 300;
  await channels[0].ok('broadcast', { n });
  for (const channel of channels) {
    for (let i = 0; i < n; i++) assert.deepEqual((await channel.event('news'))[4], { i });
    await channel.ok('echo');
    assert.ok(!channel.client.rest().some((f) => f[3] === 'news'));
  }
});

test('broadcast_from leaves out its own channel only', async (t) => {
  const clients = await Promise.all([1, 2].map(() => socket(t)));
  const [mine, other] = await Promise.all(clients.map((client) => client.join('test:from')));
  const sibling = await clients[0].join('test:sibling');
  await sibling.ok('subscribe', { topic: 'test:from' });
  await mine.ok('broadcast', { from: true });
  await other.event('news');
  assert.equal((await sibling.event('info'))[4].topic, 'test:from');
  await mine.ok('echo');
  assert.ok(!clients[0].frames.some((f) => f[2] === 'test:from' && f[3] === 'news'));
});

test('broadcasts may bear any event name', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:names');
  for (const event of ['phx_close', 'phx_error', 'phx_reply', 'disconnect']) {
    await channel.ok('broadcast', { event, payload: { fake: 1 } });
    assert.deepEqual(
      await client.take((f) => f[3] === event && f[4].fake === 1, event),
      [null, null, 'test:names', event, { fake: 1 }],
    );
  }
  await channel.ok('echo');
});

test('another topic: subscribed twice delivers twice, unsubscribed not at all', async (t) => {
  const client = await socket(t);
  const sender = await (await socket(t)).join('test:sender');
  const channel = await client.join('test:other');
  await channel.ok('subscribe', { topic: 'news:other', n: 2 });
  await sender.ok('broadcast', { to: 'news:other', event: 'x', payload: { n: 1 } });
  for (let i = 0; i < 2; i++)
    assert.deepEqual((await channel.event('info'))[4], { topic: 'news:other', event: 'x', payload: { n: 1 } });
  const witness = await (await socket(t)).join('test:witness');
  await witness.ok('subscribe', { topic: 'news:other' });
  await channel.ok('unsubscribe', { topic: 'news:other' });
  await sender.ok('broadcast', { to: 'news:other', event: 'y' });
  await witness.event('info'); // accepted: it is not for who subscribes now
  await channel.ok('subscribe', { topic: 'news:other' });
  await sender.ok('broadcast', { to: 'news:other', event: 'z' });
  assert.equal((await channel.event('info'))[4].event, 'z');
  await channel.ok('echo');
  assert.equal(client.frames.filter((f) => f[3] === 'info').length, 3);
  // Nothing of it reaches the client by itself.
  assert.ok(!client.frames.some((f) => f[2] === 'news:other'));
});

test('a subscription holds from the answer on, also to what the own connection sends', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:holds');
  const sibling = await client.join('test:b');
  await channel.ok('subscribe', { topic: 'news:holds' });
  await sibling.ok('broadcast', { to: 'news:holds' });
  await channel.event('info');
  await sibling.ok('broadcast', { to: 'test:holds', event: 'direct' });
  await channel.event('direct');
});

test('timers come by themselves', async (t) => {
  const client = await socket(t);
  const channel = await client.join('test:timers');
  // Until the second is set before the first is due.
  for (let ms = 30, took = ms; took >= ms; ) {
    ms *= 4;
    client.frames.length = 0;
    const begin = performance.now();
    await channel.ok('timer', { ms, event: 'late' });
    await channel.ok('timer', { ms: 1, event: 'early' });
    took = performance.now() - begin + 3; // due in whole milliseconds
    await channel.event('early');
    await channel.event('late');
    const events = client.frames.map((f) => f[3]).filter((e) => e !== 'phx_reply');
    if (took < ms) assert.deepEqual(events, ['early', 'late']);
  }
});
