// The demo's channels of who is online, with the official client and its
// Presence, as their pages have them: notifications:lobby with its service, and
// tracked; also while presence, pubsub and they themselves are killed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import { after, describe, test } from 'node:test';
import { Presence, Socket } from 'phoenix';
import WebSocket from 'ws';
import { build, Server } from './lib/server.mjs';
import { gone } from './lib/procs.mjs';
import { Inbox, until, within } from './lib/wait.mjs';

const LOBBY = 'notifications:lobby';
const bennu = path.join(build, 'supervisor/bennu');
const NAME = /^[A-Z][a-z]+ [A-Z][a-z]+$/;
const INTERVAL = 50; // ms; of the service that is tested

const module = (symbol) => `"${path.join(build, 'demo', 'demo.so')}:${symbol}"`;

const text = (interval, restart = 'transient') => `
server { listen = {"127.0.0.1:0"} crash_limit = 0 }
socket "/socket" {
  channel "notifications:*" { module = ${module('notifications')} restart = ${restart} }
  channel "tracked" { module = ${module('tracked')} restart = ${restart} }
}
service "notifications" {
  module = ${module('notifier')}
  options { interval = "${interval}" }
}
endpoint { tree = true }
`;

async function begin(t, ...options) {
  const server = new Server({ text: text(...options) });
  t.after(() => server.stop());
  return server.ready();
}

// Its service says nothing.
const server = await begin({ after }, 3600000);

// ---- the official client ----

function open(t, on = server) {
  const socket = new Socket(`ws://127.0.0.1:${on.port}/socket`, {
    transport: WebSocket,
    params: { token: 'TokenHere' },
    reconnectAfterMs: () => 20,
    rejoinAfterMs: () => 20,
  });
  socket.connect();
  t.after(() => socket.disconnect());
  return socket;
}

const outcome = (push) =>
  within(
    new Promise((resolve) => {
      for (const status of ['ok', 'error', 'timeout'])
        push.receive(status, (response) => resolve([status, response]));
    }),
    () => 'the outcome of a push',
  );

// The events of these pushes have no answer: the client is not to wait for one.
const send = (channel, event, payload) => channel.push(event, payload, 1);

// A channel with its Presence: keys() says who is there; `changes` what its
// client heard of others, as "+key" and "-key".
function attend(socket, topic, params) {
  const channel = socket.channel(topic, params);
  const presence = new Presence(channel);
  channel.inbox = new Inbox();
  channel.changes = [];
  presence.onJoin((key) => channel.changes.push(`+${key}`));
  presence.onLeave((key) => channel.changes.push(`-${key}`));
  channel.list = () => Object.fromEntries(presence.list((key, value) => [key, value]));
  channel.keys = () => presence.list((key) => key).sort();
  channel.sees = (keys) => {
    const wanted = [...keys].sort().join();
    return until(
      () => channel.keys().join() === wanted,
      () => `${wanted}; there is ${channel.keys()}`,
    );
  };
  for (const event of ['notification', 'user_info', 'presence_state'])
    channel.on(event, (payload) => {
      if (event === 'user_info') channel.name = payload.user_name;
      channel.inbox.add({ event, payload });
    });
  channel.next = async (event) =>
    (await channel.inbox.take((item) => item.event === event, event)).payload;
  return channel;
}

async function joined(channel) {
  assert.deepEqual(await outcome(channel.join()), ['ok', {}]);
  return channel;
}

// Somebody in the lobby, who has got a name and the list.
async function enter(t, on = server) {
  const channel = await joined(attend(open(t, on), LOBBY));
  await channel.next('user_info');
  await channel.next('presence_state');
  return channel;
}

async function track(t, user, on = server) {
  const channel = await joined(attend(open(t, on), 'tracked', { user_id: user }));
  await channel.next('presence_state');
  return channel;
}

const names = (all) => all.map(({ name }) => name);
const seeEachOther = (all) => Promise.all(all.map((one) => one.sees(names(all))));

// The lobby is one: each test begins when it is empty, also for presence, which
// has heard of the ends of transports before it hears of others.
const lobbyIsEmpty = async (on = server, roles = ['channel', 'transport']) =>
  until(() => roles.every((role) => on.workers(role).length === 0), 'an empty lobby');

// ---- processes ----

function transportOf(channel, on = server) {
  const { localPort } = channel.socket.conn._socket;
  return on.workers('transport').find(({ title }) => title.includes(`:${localPort} `));
}

const channelOf = (channel, on = server) => on.below(transportOf(channel, on).pid)[0];
const presence = (on = server) =>
  on.processes().find(({ title }) => /^bennu: presence\b/.test(title));

async function kill({ pid }) {
  process.kill(pid, 'SIGKILL');
  await gone(pid);
}

// Over HTTP, as the demo's page does it.
async function killById(id, on = server) {
  const { status } = await fetch(`http://127.0.0.1:${on.port}/bennu/kill`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Bennu-Token': on.token },
    body: JSON.stringify({ id }),
  });
  assert.equal(status, 202);
}

async function killPresence(on = server) {
  const { pid } = await until(() => presence(on), 'presence');
  await killById('presence', on);
  await gone(pid);
}

// All notifications of the server, one by one: their payloads.
async function listen(t, on) {
  const child = spawn(bennu, ['-r', on.run, 'subscribe', 'notifications:*'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const inbox = (stream) => {
    const lines = new Inbox();
    readline.createInterface(stream).on('line', (line) => lines.add(line));
    return lines;
  };
  const [out, err] = [child.stdout, child.stderr].map(inbox);
  await err.take((line) => line === 'bennu: listening', 'listening');
  return async () => {
    const said = ({ event }) => event === 'notification';
    const line = await out.take((one) => said(JSON.parse(one)), 'a notification');
    return JSON.parse(line).payload;
  };
}

const seconds = () => Date.now() / 1000;
const isNow = (s) => assert.ok(Math.abs(s - seconds()) < 60, `${s}, not ${seconds()}`);

// ---- the lobby ----

describe('notifications:lobby', () => {
  test('who joins gets a name, then the list; all are told', async (t) => {
    await lobbyIsEmpty();
    const client = await server.connect();
    t.after(() => client.close());
    const { joinRef } = await client.join(LOBBY);
    const of = (event) => client.event(LOBBY, event);
    const [info, state, diff] = [await of('user_info'), await of('presence_state'), await of('presence_diff')];
    const { user_name: name } = info[4];
    assert.match(name, NAME);
    assert.deepEqual(info, [joinRef, null, LOBBY, 'user_info', { user_name: name }]);
    const { phx_ref: ref, online_at: at } = state[4][name].metas[0];
    const list = { [name]: { metas: [{ phx_ref: ref, online_at: at, user_name: name }] } };
    assert.deepEqual(state, [joinRef, null, LOBBY, 'presence_state', list]);
    assert.deepEqual(diff, [null, null, LOBBY, 'presence_diff', { joins: list, leaves: {} }]);
    assert.match(ref, /^[\w-]{16}$/);
    assert.match(at, /^\d+$/);
    isNow(Number(at));
  });

  test('other topics cannot be joined: they are for notifications', async (t) => {
    const socket = open(t);
    for (const topic of ['notifications:Amber Wren', 'notifications:', 'notifications:lobby2']) {
      const channel = socket.channel(topic);
      assert.deepEqual(await outcome(channel.join()), ['error', { reason: 'unmatched topic' }]);
      channel.leave();
    }
  });

  test('all see who comes, who leaves and who disconnects', async (t) => {
    await lobbyIsEmpty();
    const all = [await enter(t), await enter(t), await enter(t)];
    await seeEachOther(all);
    const [a, b, c] = all;
    await outcome(c.leave());
    await seeEachOther([a, b]);
    b.socket.disconnect();
    await a.sees([a.name]);
    assert.deepEqual(a.changes.slice(-4), [`+${b.name}`, `+${c.name}`, `-${c.name}`, `-${b.name}`]);
  });

  test('who is killed goes, and comes again under another name', async (t) => {
    await lobbyIsEmpty();
    const all = [await enter(t), await enter(t)];
    await seeEachOther(all);
    const [a, b] = all;
    for (const victim of [transportOf, channelOf]) {
      a.changes.length = 0;
      const former = b.name;
      await kill(victim(b));
      await b.next('user_info');
      await b.next('presence_state');
      await seeEachOther(all);
      assert.deepEqual(a.changes, [`-${former}`, `+${b.name}`]);
    }
  });

  test('notifications reach one, the others or all', async (t) => {
    await lobbyIsEmpty();
    const all = [await enter(t), await enter(t), await enter(t)];
    // What is for one comes over a topic of its own: whose worker has told it of
    // the last one has heard of that, too.
    await seeEachOther(all);
    const [a, b, c] = all;
    const body = 'ü ☥ "\\ <b>';
    const check = (payload, expected) => {
      assert.deepEqual(Object.keys(payload), ['body', 'timestamp']);
      assert.equal(payload.body, expected);
      assert.ok(Number.isInteger(payload.timestamp));
      isNow(payload.timestamp);
    };
    send(a, 'notify_direct', { body, recipient: b.name });
    check(await b.next('notification'), body);
    send(b, 'notify_direct', { body: 'to myself', recipient: b.name });
    check(await b.next('notification'), 'to myself');
    send(a, 'notify_others', { body: 'others' });
    for (const one of [b, c]) check(await one.next('notification'), 'others');
    send(c, 'notify_all', { body: '' });
    for (const one of all) check(await one.next('notification'), '');
    // To nobody; and behind it each hears only the last.
    send(a, 'notify_direct', { body, recipient: 'Nobody' });
    send(a, 'notify_direct', { body, recipient: '' });
    send(a, 'notify_all', { body: 'last' });
    for (const one of all) {
      check(await one.next('notification'), 'last');
      assert.deepEqual(one.inbox.items, []);
    }
  });

  test('what is no notification crashes the channel', async (t) => {
    const strict = await begin(t, 3600000, 'temporary');
    const client = await strict.connect();
    t.after(() => client.close());
    for (const [event, payload] of [
      ['notify_all', {}], ['notify_all', { body: 1 }], ['notify_others', []],
      ['notify_others', { body: null }], ['notify_direct', { body: 'x' }],
      ['notify_direct', { recipient: 'x' }], ['notify_direct', { body: 'x', recipient: ['x'] }],
      ['notify_direct', { body: 'x', recipient: 'x'.repeat(300) }], ['notify', { body: 'x' }],
    ]) {
      const channel = await client.join(LOBBY);
      channel.send(event, payload);
      assert.equal((await client.event(LOBBY, 'phx_error'))[0], channel.joinRef, event);
    }
  });
});

// ---- tracked ----

describe('tracked', () => {
  test('is by user_id, however often a user is there', async (t) => {
    await lobbyIsEmpty();
    const [one, again, ann] = [await track(t, 7), await track(t, 7), await track(t, 'Änn "x"')];
    for (const channel of [one, again, ann]) await channel.sees(['7', 'Änn "x"']);
    await until(() => one.list()[7].metas.length === 2, 'the second of 7');
    const { metas } = one.list()['Änn "x"'];
    assert.deepEqual(Object.keys(metas[0]).sort(), ['online_at', 'phx_ref', 'user_id']);
    assert.equal(metas[0].user_id, 'Änn "x"');
    assert.deepEqual(one.list()[7].metas.map(({ user_id: id }) => id), [7, 7]);
    isNow(Number(metas[0].online_at));
    await outcome(again.leave());
    await until(() => ann.list()[7].metas.length === 1, 'only the first of 7');
    await kill(channelOf(one));
    await one.next('presence_state');
    await until(() => ann.changes.at(-1) === '+7', 'the first of 7, again');
    assert.equal(ann.list()[7].metas.length, 1);
    one.socket.disconnect();
    await ann.sees(['Änn "x"']);
  });

  test('a user_id is text or a number', async (t) => {
    const socket = open(t);
    for (const user of [undefined, null, '', 'x'.repeat(256), true, [1], { id: 1 }]) {
      const channel = socket.channel('tracked', { user_id: user });
      assert.deepEqual(await outcome(channel.join()), ['error', { reason: 'user_id is missing' }]);
      channel.leave();
    }
  });
});

// ---- the service ----

describe('the service', () => {
  const says = (name) => `Message to ${name} from internal service`;

  test('notifies everybody now and then, each by name', async (t) => {
    const busy = await begin(t, INTERVAL);
    const service = () => busy.workers('service')[0];
    const { pid } = service();
    const all = [await enter(t, busy), await enter(t, busy)];
    for (let i = 0; i < 3; i++)
      for (const one of all) {
        const { body, timestamp } = await one.next('notification');
        assert.equal(body, says(one.name));
        isNow(timestamp);
      }
    assert.equal(service().pid, pid);
    // It, pubsub and presence die; it goes on.
    const kills = [() => kill(service()), () => killPresence(busy)];
    for (const worker of busy.workers('pubsub')) kills.push(() => kill(worker));
    for (const killing of kills) {
      await killing();
      for (const one of all) one.inbox.items.length = 0;
      for (const one of all) assert.equal((await one.next('notification')).body, says(one.name));
    }
    // Who has left is not meant any more; when nobody is there nobody is.
    const [a, b] = all;
    await outcome(b.leave());
    await a.sees([a.name]);
    const left = Math.floor(seconds());
    const tap = await listen(t, busy);
    // What was said before may still come, and one whose list was older.
    const late = [];
    for (let n = 0; n < 10;) {
      const { body, timestamp } = await tap();
      if (body !== says(a.name)) late.push({ body, timestamp });
      else if (timestamp > left) n++;
    }
    assert.ok(late.every(({ body }) => body === says(b.name)));
    assert.ok(late.filter(({ timestamp }) => timestamp > left).length <= 1, JSON.stringify({ left, late }));
    await outcome(a.leave());
    await lobbyIsEmpty(busy, ['channel']);
    const last = await enter(t, busy);
    let { body } = await tap();
    while (body === says(a.name)) ({ body } = await tap());
    assert.equal(body, says(last.name));
  });

  test('does not start with an interval that is none', async () => {
    const refused = new Server({ text: text('5s') });
    await refused.log(/service notifications\[\d+\]: .*interval = "5s": not milliseconds/);
    await refused.stop({ code: 11 });
  });
});

// ---- kills ----

test('the list stays right while presence, pubsub and the service are killed', async (t) => {
  await lobbyIsEmpty();
  const all = [await enter(t), await enter(t)];
  await seeEachOther(all);
  const [a] = all;
  for (let i = 0; i < 4; i++) {
    a.changes.length = 0;
    await killPresence();
    if (i === 1) await killById('service/notifications');
    if (i === 2) for (const pubsub of server.workers('pubsub')) await kill(pubsub);
    // Who comes then is seen, and sees all; no more than that was said to be new.
    const late = await enter(t);
    await seeEachOther([...all, late]);
    await killPresence();
    late.socket.disconnect();
    await seeEachOther(all);
    assert.deepEqual(a.changes, [`+${late.name}`, `-${late.name}`]);
    send(a, 'notify_direct', { body: `round ${i}`, recipient: all[1].name });
    assert.equal((await all[1].next('notification')).body, `round ${i}`);
  }
  assert.ok(all.every(({ socket }) => socket.isConnected()));
});
