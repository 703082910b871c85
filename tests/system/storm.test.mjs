// A storm of kill -9: the official client in rooms, while channels and pubsub
// are killed at random. Afterwards everybody is where they were.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Socket } from 'phoenix';
import WebSocket from 'ws';
import { inSession } from './lib/procs.mjs';
import { asan, start } from './lib/server.mjs';
import { DEADLINE, until, within } from './lib/wait.mjs';

const CLIENTS = 30;
const ROOMS = 5;
const STORM = 10_000; // ms, at least
const PAUSE = 5; // ms between two kills

class Chatter {
  constructor(server, room) {
    this.opens = 0;
    this.errors = 0;
    this.heard = new Set();
    this.pid = null; // of its channel, as it said last
    this.socket = new Socket(`ws://127.0.0.1:${server.port}/socket`, { transport: WebSocket });
    this.socket.onOpen(() => this.opens++);
    this.socket.connect();
    this.channel = this.socket.channel(`test:room${room}`);
    this.channel.onError(() => this.errors++);
    this.channel.on('news', ({ id }) => this.heard.add(id));
  }

  joined() {
    const push = this.channel.join();
    return new Promise((resolve, reject) =>
      push.receive('ok', resolve).receive('error', reject).receive('timeout', reject),
    );
  }

  // ['ok', response] or ['error', response].
  call(event, payload = {}) {
    return new Promise((resolve) => {
      const push = this.channel.push(event, payload, 60_000);
      for (const status of ['ok', 'error', 'timeout'])
        push.receive(status, (response) => resolve([status, response]));
    });
  }
}

test('a kill storm', { skip: asan && 'for a plain build' }, async (t) => {
  const server = await start(t, {
    // As many kills as there are must not exhaust anybody.
    channels: { 'test:*': { intensity: 10_000, period: '10s' } },
  });
  const chatters = Array.from({ length: CLIENTS }, (_, i) => new Chatter(server, i % ROOMS));
  t.after(() => chatters.forEach(({ socket }) => socket.disconnect()));
  await within(Promise.all(chatters.map((chatter) => chatter.joined())), () => 'the joins');
  const expected = { transport: CLIENTS, channel: CLIENTS };
  await server.settles(expected);
  const transports = server.workers('transport').map(({ pid }) => pid).sort();

  let storm = true;
  const answers = { ok: 0, error: 0, timeout: 0 };
  const talk = async (chatter) => {
    while (storm) {
      const [status, response] = await chatter.call('about');
      answers[status]++;
      if (status === 'error') assert.deepEqual(response, { reason: 'channel crashed' });
      if (status === 'ok') chatter.pid = response.pid;
      await chatter.call('broadcast', { payload: { id: -1 } });
      await delay(20);
    }
  };
  const talking = Promise.all(chatters.map(talk));

  const kills = { channel: 0, pubsub: 0 };
  const killed = new Set();
  // Who was started and has told so: a channel that dies in its join, run again,
  // is given up.
  const victims = {
    channel: () => chatters.map(({ pid }) => pid),
    pubsub: () =>
      Object.values(Object.fromEntries(server.lines
        .map((line) => /bennu_sup: started: pubsub (\d+)\[(\d+)\]/.exec(line))
        .filter((match) => match !== null)
        .map(([, number, pid]) => [number, Number(pid)]))),
  };
  const enough = () => kills.channel > 100 && kills.pubsub >= 5;
  const end = performance.now() + STORM;
  let lastPubsub = 0;
  while (performance.now() < end || (!enough() && performance.now() < end + DEADLINE)) {
    // pubsub has a limit of 10 in 10 s, beyond which it pauses.
    const pubsub = kills.pubsub < 8 && performance.now() - lastPubsub > 1000;
    const role = pubsub ? 'pubsub' : 'channel';
    const all = victims[role]().filter((pid) => pid !== null && !killed.has(pid));
    if (all.length > 0) {
      const victim = all[Math.floor(Math.random() * all.length)];
      killed.add(victim);
      process.kill(victim, 'SIGKILL');
      kills[role]++;
      if (pubsub) lastPubsub = performance.now();
    }
    await delay(PAUSE);
  }
  storm = false;
  await within(talking, () => 'the last answers', 60_000);
  // Who is dying may look alive for a moment: until each death was told.
  const deaths = {
    channel: () => server.count(/channel_sup: child_terminated: test:room\d\[\d+\] transient: killed, restart/),
    pubsub: () => server.count(/bennu_sup: child_terminated: pubsub \d\[\d+\] permanent: killed, restart/),
  };
  await until(() => Object.keys(kills).every((role) => deaths[role]() >= kills[role]), 'the deaths');
  t.diagnostic(`${kills.channel} channels and ${kills.pubsub} pubsub workers killed`);
  t.diagnostic(`answers: ${JSON.stringify(answers)}`);
  assert.ok(enough(), JSON.stringify(kills));
  assert.ok(answers.ok > 100 && answers.timeout === 0, JSON.stringify(answers));

  // All are on the same socket, and no channel was given up.
  await server.settles(expected);
  assert.deepEqual(chatters.map(({ opens }) => opens), Array(CLIENTS).fill(1));
  assert.deepEqual(chatters.map(({ errors }) => errors), Array(CLIENTS).fill(0));
  assert.deepEqual(server.workers('transport').map(({ pid }) => pid).sort(), transports);
  for (const chatter of chatters)
    assert.deepEqual(await chatter.call('echo', { n: 2 }), ['ok', { n: 2 }]);

  // Broadcasts reach everybody in the room.
  for (let room = 0; room < ROOMS; room++) {
    const members = chatters.filter((_, i) => i % ROOMS === room);
    let id = 0;
    await until(async () => {
      await members[0].call('broadcast', { payload: { id: ++id } });
      return members.every(({ heard }) => [...heard].some((n) => n > 0));
    }, `a broadcast to room ${room}`);
    await members[1].call('broadcast', { payload: { id: 'last' } });
    await until(() => members.every(({ heard }) => heard.has('last')), `the last one in room ${room}`);
  }

  // Every death was reaped, and told in a line.
  await until(() => inSession(server.pid).every(({ state }) => state !== 'Z'), 'no zombies');
  for (const role of Object.keys(kills)) assert.equal(deaths[role](), kills[role], role);
  const strange = server.lines.filter((line) => !/child_terminated|started: (pubsub|presence)|tokens do not outlive|listening on/.test(line));
  assert.deepEqual(strange, []);
});
