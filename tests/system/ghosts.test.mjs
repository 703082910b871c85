// No ghost, ever: many clients join, leave and track at random while processes
// of every kind are killed. Again and again everything comes to rest, and then
// the list, every client's state (merged by the official Presence class) and
// the channels that live are the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Presence, Socket } from 'phoenix';
import WebSocket from 'ws';
import { asan, start } from './lib/server.mjs';

const CLIENTS = asan ? 80 : 500;
const TOPICS = asan ? 4 : 10;
const ROUNDS = asan ? 4 : 8;
const DEEDS = CLIENTS; // of clients in a round
const REST = 120_000; // ms: a deadline on a busy machine, not what is expected
// Of pubsub workers and presence, so that nobody backs off.
const PAUSE = 1200;

const seed = Number(process.env.BENNU_SEED ?? Date.now() % 1_000_000);
let random = seed;
const chance = (n) => {
  random = (Math.imul(random, 1103515245) + 12345) >>> 0;
  return (random >>> 8) % n;
};
const one = (list) => list[chance(list.length)];

// A person: one connection, at most one channel, and what it tracks there
// beside the key that it tracks as it joins.
class Person {
  constructor(server, number) {
    this.key = `c${number}`;
    this.topic = null; // where it wants to be
    this.extra = 0;
    this.socket = new Socket(`ws://127.0.0.1:${server.port}/socket`, {
      transport: WebSocket,
      reconnectAfterMs: () => 20,
      rejoinAfterMs: () => 50,
      timeout: 20_000,
    });
    this.socket.connect();
  }

  join(topic) {
    this.topic = topic;
    this.channel = this.socket.channel(topic, { key: this.key });
    this.presence = new Presence(this.channel);
    this.channel.join();
  }

  leave() {
    this.topic = null;
    this.channel.leave();
  }

  push(event, key, meta) {
    this.channel.push(event, { key, meta });
  }

  // Something that it may do now.
  act() {
    if (this.topic === null) {
      this.join(`presence:${chance(TOPICS)}`);
      return;
    }
    switch (chance(8)) {
      case 0:
      case 1:
        this.leave();
        break;
      case 2:
        this.push('track', `x${this.key}.${this.extra++}`, { extra: true });
        break;
      case 3:
        this.push('untrack', `x${this.key}.${chance(this.extra + 1)}`);
        break;
      default:
        this.push('update', this.key, { at: chance(1000) });
    }
  }
}

// { key: [phx_ref, ...] }, as text that can be compared.
function told(list) {
  const refs = Object.entries(list).map(([key, { metas }]) => [
    key,
    metas.map(({ phx_ref: ref }) => ref).sort(),
  ]);
  return JSON.stringify(refs.sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function listOf(server, topic) {
  const answer = await fetch(
    `http://127.0.0.1:${server.port}/list/${encodeURIComponent(topic)}`,
    // A connection that was kept may be that of a transport that was killed.
    { headers: { Connection: 'close' } });
  assert.equal(answer.status, 200);
  return answer.json();
}

// What is not as it should be; null: all is well.
async function wrong(server, people) {
  const channels = server.workers('channel').map(({ title }) => title);
  for (let i = 0; i < TOPICS; i++) {
    const topic = `presence:${i}`;
    const here = people.filter((person) => person.topic === topic);
    const list = await listOf(server, topic);
    const expected = told(list);
    const living = channels.filter((title) => title.includes(` ${topic} `)).length;
    if (living !== here.length)
      return `${living} channels of ${topic} for ${here.length} people`;
    // Everybody who is there once, and nobody else.
    const keys = Object.keys(list).filter((key) => key.startsWith('c')).sort();
    const wanted = here.map(({ key }) => key).sort();
    if (JSON.stringify(keys) !== JSON.stringify(wanted))
      return `${topic} lists ${keys.filter((k) => !wanted.includes(k))} too many, ` +
        `${wanted.filter((k) => !keys.includes(k))} too few`;
    for (const key of keys)
      if (list[key].metas.length !== 1) return `${key} of ${topic} is there twice`;
    for (const key of Object.keys(list).filter((k) => k.startsWith('x')))
      if (!wanted.includes(key.slice(1).split('.')[0])) return `a ghost: ${key} of ${topic}`;
    for (const person of here) {
      if (person.channel.state !== 'joined') return `${person.key} is not joined`;
      const state = told(person.presence.state);
      if (state !== expected) return `${person.key} in ${topic}: ${state}, but it is ${expected}`;
    }
  }
  return null;
}

// ms until all was well.
async function rests(server, people) {
  const begin = performance.now();
  for (;;) {
    const why = await wrong(server, people);
    const ms = Math.round(performance.now() - begin);
    if (why === null) return ms;
    assert.ok(ms < REST, `seed ${seed}: ${why.slice(0, 2000)}`);
    await delay(20);
  }
}

const send = (signal, pid) => {
  try {
    process.kill(pid, signal);
  } catch {
    // it has just ended
  }
};

// One that is stopped before has not read what the others did meanwhile.
async function kill(server, role) {
  const workers = server.workers(role);
  if (workers.length === 0) return;
  const { pid } = one(workers);
  if ((role === 'presence' || role === 'pubsub') && chance(2) === 0) {
    send('SIGSTOP', pid);
    await delay(chance(200));
  }
  send('SIGKILL', pid);
}

// Kills of all kinds, in any order, while people act.
async function killAll(server, during) {
  const roles = [
    ...Array(asan ? 6 : 30).fill('channel'),
    ...Array(asan ? 2 : 10).fill('transport'),
    'presence',
    'pubsub',
    'presence',
  ];
  let last = 0;
  while (roles.length > 0) {
    const [role] = roles.splice(chance(roles.length), 1);
    if (role === 'presence' || role === 'pubsub') {
      await delay(Math.max(0, last + PAUSE - performance.now()));
      last = performance.now();
    }
    await kill(server, role);
    // Two at once, now and then: the one may be about to hear of the other.
    if (chance(3) > 0) await delay(chance(40));
  }
  await during;
}

test(`${CLIENTS} clients, and kills of every kind of process`, { timeout: 600_000 }, async (t) => {
  const server = await start(t, {
    channels: {
      'presence:*': { module: 'presence.so:presence', intensity: '0', restart: 'transient' },
    },
    endpoint: { module: 'presence.so:api' },
  });
  const people = Array.from({ length: CLIENTS }, (_, i) => new Person(server, i));
  t.after(() => people.forEach(({ socket }) => socket.disconnect()));
  for (let i = 0; i < CLIENTS; i++) {
    people[i].join(`presence:${i % TOPICS}`);
    if (i % 20 === 19) await delay(10);
  }
  const times = [await rests(server, people)];
  const act = async () => {
    for (let i = 0; i < DEEDS; i++) {
      one(people).act();
      if (i % 8 === 7) await delay(10);
    }
  };
  for (let round = 0; round < ROUNDS; round++) {
    await killAll(server, act());
    times.push(await rests(server, people));
  }
  t.diagnostic(`seed ${seed}; ms until rest: ${times.join(', ')}`);
});
