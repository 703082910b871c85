// Faults under a fan-out whose numbers are checked (ARCHITECTURE.md 5 and 6):
// pubsub workers that are killed, stopped and hang, transports that are stopped,
// clients that do not read. Nobody but who must is disconnected, and nothing
// that was accepted is lost, doubled or put in another order.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, gone } from './lib/procs.mjs';
import { Listener, Sender } from './lib/listener.mjs';
import { asan, modules, start } from './lib/server.mjs';
import { until, within } from './lib/wait.mjs';

const LONG = asan ? 240_000 : 120_000; // deadlines on a busy machine
// Who is slow or silent is so on purpose.
const patient = {
  server: { backlog_max: '64M', send_timeout: '120s' },
  socket: { idle_timeout: '600s' },
};
const random = (n) => Math.floor(Math.random() * n);

// So many clients at a time, as a busy machine takes them.
async function members(server, n, topicOf, options = () => ({})) {
  const all = [];
  for (let i = 0; i < n; i += 20) {
    const some = Array.from({ length: Math.min(20, n - i) }, (_, j) => i + j);
    all.push(...(await Promise.all(some.map(async (k) => {
      const listener = await Listener.open(server, options(k));
      listener.topic = topicOf(k);
      await listener.join(listener.topic, {}, LONG);
      return listener;
    }))));
  }
  return all;
}

const closeAll = (...groups) => groups.flat().forEach((listener) => listener.close());

// A client of its own for each sender.
async function senders(server, n, topicOf, options) {
  return Promise.all(Array.from({ length: n }, async (_, i) => {
    const own = `test:own${i}`;
    const listener = await Listener.open(server);
    await listener.join(own);
    return new Sender(listener, `s${i}`, own, topicOf(i), { ms: LONG, ...options });
  }));
}

// Everybody has the last number of everybody who sends to their topic.
async function allHaveAll(listeners, all, ms = LONG) {
  const behind = () =>
    listeners.flatMap((listener, i) =>
      all
        .filter((s) => s.topic === listener.topic && listener.last(s.name, s.topic) !== s.sent)
        .map((s) => `${i}: ${s.name} ${listener.last(s.name, s.topic)} of ${s.sent}`));
  await until(() => {
    listeners.forEach((listener) => listener.check());
    return behind().length === 0;
  }, () => `the end of the fan-out; behind: ${behind().slice(0, 20).join(', ')}`, ms);
  for (const listener of listeners) {
    const mine = all.filter((s) => s.topic === listener.topic);
    assert.equal(listener.count, mine.reduce((sum, s) => sum + s.sent, 0));
  }
}

// { number: pid } of the workers, as the log tells. Each line is found once.
async function nextWorker(server, pids, number) {
  const [, pid] = await server.log(new RegExp(`started: pubsub ${number}\\[(\\d+)\\]`), LONG);
  pids[number] = Number(pid);
}

async function workersOf(server) {
  const pids = {};
  for (const number of [1, 2]) await nextWorker(server, pids, number);
  return pids;
}

// Memory of its own, or null when it is gone.
function kB(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return Number(/^Pss_Anon:\s+(\d+)/m.exec(text)[1]);
  } catch {
    return null;
  }
}

const stop = (pid) => process.kill(pid, 'SIGSTOP');
const go = (pid) => {
  try {
    process.kill(pid, 'SIGCONT');
  } catch {
    // it is gone
  }
};

// ---- workers that die ----

const TOPICS = 4;
const CLIENTS = asan ? 40 : 200;
const KILLS = asan ? 20 : 100;
const PAUSE = 800; // ms, at most, between two kills

test(`${KILLS} kills of pubsub workers under a fan-out to ${CLIENTS} clients`, async (t) => {
  const server = await start(t, {
    ...patient,
    log: { level: 'info' },
  });
  const topic = (i) => `test:t${i % TOPICS}`;
  // Every sixth speaks V1, every tenth reads slowly.
  const listeners = await members(server, CLIENTS, topic, (i) => ({ vsn: i % 6 === 0 ? '1.0.0' : '2.0.0' }));
  const all = await senders(server, 8, topic, {
    pause: 20,
    size: (n) => (n % 30 === 0 ? 40_000 : random(300)),
    window: 2,
  });
  t.after(() => closeAll(listeners, all.map((s) => s.listener)));
  let storm = true;
  const slow = listeners.filter((_, i) => i % 10 === 0);
  const slowness = Promise.all(slow.map(async (listener) => {
    while (storm && !listener.over) {
      listener.pause();
      await delay(100 + random(3000));
      listener.resume();
      await delay(20 + random(200));
    }
  }));
  const sending = Promise.all(all.map((s) => s.run()));
  sending.catch(() => {});
  const pids = await workersOf(server);
  // A worker that is started more often than 10 times in 10 s pauses.
  const killed = { 1: [], 2: [] };
  const mayDie = (number) => killed[number].filter((at) => performance.now() - at < 10_500).length < 9;
  for (let i = 0; i < KILLS;) {
    // In turn, then at random, at times both at once.
    const one = i < KILLS / 3 ? 1 + (i % 2) : 1 + random(2);
    const victims = (i % 10 === 9 ? [1, 2] : [one]).filter(mayDie);
    for (const victim of victims) {
      process.kill(pids[victim], 'SIGKILL');
      killed[victim].push(performance.now());
    }
    await Promise.all(victims.map((victim) => nextWorker(server, pids, victim)));
    i += victims.length;
    await delay(100 + random(PAUSE));
    listeners.forEach((listener) => listener.check());
  }
  storm = false;
  await slowness;
  all.forEach((s) => s.stop());
  await within(sending, () => 'the last replies', LONG);
  await allHaveAll(listeners, all);
  const sent = all.reduce((sum, s) => sum + s.sent, 0);
  t.diagnostic(`${sent} broadcasts, ${listeners.reduce((sum, l) => sum + l.count, 0)} deliveries`);
  assert.ok(sent > 10 * KILLS, `${sent}`);
  assert.equal(server.count(/overwritten|does not add up|closed:/), 0, server.logText.slice(-2000));
  await server.settles({ transport: CLIENTS + all.length, channel: CLIENTS + all.length });
});

// ---- transports that are stopped ----

test('stopped transports hold up nobody, and get everything when they go on', async (t) => {
  const server = await start(t, { ...patient });
  const listeners = await members(server, asan ? 10 : 40, () => 'test:a');
  const all = await senders(server, 3, () => 'test:a', { pause: 1, window: 4, size: (n) => (n % 50 === 0 ? 60_000 : 50) });
  t.after(() => closeAll(listeners, all.map((s) => s.listener)));
  const mine = new Set(await Promise.all(all.map(async ({ listener, own }) => (await listener.ok(own, 'about')).ppid)));
  const about = await Promise.all(listeners.map((listener) => listener.ok('test:a', 'about')));
  const transports = about.map(({ ppid }) => ppid);
  assert.ok(transports.every((pid) => !mine.has(pid)));
  const sending = Promise.all(all.map((s) => s.run()));
  sending.catch(() => {});
  t.after(() => transports.forEach(go));
  const counts = [];
  for (let round = 0; round < (asan ? 10 : 60); round++) {
    const victims = new Set([random(listeners.length), random(listeners.length)]);
    // Some of their clients do not read, too: what is written piles up.
    victims.forEach((i) => {
      if (round % 3 === 0) listeners[i].pause();
      stop(transports[i]);
    });
    const others = listeners.filter((_, i) => !victims.has(i));
    const before = all.map((s) => s.accepted);
    // While they stand still all others get what is sent from now on.
    await until(() => all.every((s, i) => s.accepted >= before[i] + 20), 'accepted broadcasts', LONG);
    const sent = all.map((s) => s.accepted);
    await until(() => others.every((l) => all.every((s, i) => l.last(s.name, s.topic) >= sent[i])),
      'all others to get them', LONG);
    counts.push([...victims].map((i) => all.every((s, k) => listeners[i].last(s.name, s.topic) >= sent[k])));
    victims.forEach((i) => {
      go(transports[i]);
      listeners[i].resume();
    });
    await delay(random(20));
    listeners.forEach((listener) => listener.check());
  }
  all.forEach((s) => s.stop());
  await within(sending, () => 'the last replies', LONG);
  await allHaveAll(listeners, all);
  const flat = counts.flat();
  t.diagnostic(`${flat.filter(Boolean).length} of ${flat.length} stopped transports had a client that got all the same`);
  await server.settles({ transport: listeners.length + 3, channel: listeners.length + 3 });
});

test('a stopped transport and a worker that dies meanwhile', async (t) => {
  const server = await start(t, {
    ...patient, log: { level: 'info' },
  });
  const listeners = await members(server, 10, () => 'test:a');
  const all = await senders(server, 2, () => 'test:a', { pause: 1, window: 4, size: (n) => (n % 6 === 0 ? 60_000 : 50) });
  t.after(() => closeAll(listeners, all.map((s) => s.listener)));
  const about = await Promise.all(listeners.map((listener) => listener.ok('test:a', 'about')));
  const transports = about.map(({ ppid }) => ppid);
  t.after(() => transports.forEach(go));
  const sending = Promise.all(all.map((s) => s.run()));
  sending.catch(() => {});
  const pids = await workersOf(server);
  for (let round = 0; round < (asan ? 6 : 16); round++) {
    const victims = [random(5), 5 + random(5)];
    if (round % 2 === 0) victims.forEach((i) => listeners[i].pause());
    victims.forEach((i) => stop(transports[i]));
    // At times for so long that the socket is full, and the mailbox, too.
    await delay(50 + random(600));
    const killed = round % 3 === 0 ? [1, 2] : [1 + random(2)];
    killed.forEach((number) => process.kill(pids[number], 'SIGKILL'));
    await Promise.all(killed.map((number) => nextWorker(server, pids, number)));
    const before = all.map((s) => s.accepted);
    await until(() => all.every((s, i) => s.accepted >= before[i] + 20), 'accepted broadcasts', LONG);
    victims.forEach((i) => {
      go(transports[i]);
      listeners[i].resume();
    });
    await delay(800 + random(400));
    listeners.forEach((listener) => listener.check());
  }
  all.forEach((s) => s.stop());
  await within(sending, () => 'the last replies', LONG);
  await allHaveAll(listeners, all);
});

// ---- transports that are stopped inside their write ----

test('transports stopped inside their write: the others do not feel it', async (t) => {
  const server = await start(t, {
    socket: patient.socket,
    env: {
      LD_PRELOAD: `${modules}/midwrite.so`,
      ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:verify_asan_link_order=0`,
    },
  });
  const tries = 3;
  const rounds = 3; // of a try
  const few = 4; // victims at a time
  const listeners = await members(server, asan ? 10 : 40, () => 'test:a');
  const victims = await members(server, tries * rounds * few, () => 'test:a');
  const [sender] = await senders(server, 1, () => 'test:a', { size: () => 500 });
  t.after(() => closeAll(listeners, victims, [sender.listener]));
  const about = await Promise.all(victims.map((listener) => listener.ok('test:a', 'about')));
  const transports = about.map(({ ppid }) => ppid);
  t.after(() => transports.forEach(go));
  await timed(sender, listeners, 20); // warm
  const round = async (from, alone, beside) => {
    alone.push(await times(sender, listeners, 50));
    const now = victims.slice(from, from + few);
    const stopped = transports.slice(from, from + few);
    await until(() => now.every((listener) => listener.last(sender.name, 'test:a') === sender.sent),
      'what was sent before', LONG);
    const heard = now.map((listener) => listener.count);
    const replies = now.map((listener) =>
      listener.ok('test:a', 'echo', { word: 'stop in the middle of this write' }, LONG));
    await until(() => stopped.every((pid) => describe(pid).state === 'T'), 'the stops');
    beside.push(await times(sender, listeners, 50));
    assert.ok(stopped.every((pid) => describe(pid).state === 'T'));
    // Nothing goes past the frame that has begun.
    assert.deepEqual(now.map((listener) => listener.count), heard);
    stopped.forEach(go);
    await Promise.all(replies);
  };
  // What they cost, they cost each time; what else the machine does, now and then.
  const told = [];
  for (let i = 0; i < tries; i++) {
    const alone = [];
    const beside = [];
    for (let k = 0; k < rounds; k++) await round((i * rounds + k) * few, alone, beside);
    const [without, withThem] = [alone, beside].map((all) => figures(all.flat()));
    told.push(`alone ${JSON.stringify(without)}, beside ${JSON.stringify(withThem)} ms`);
    t.diagnostic(told.at(-1));
    if (withThem.p99 < without.p99 * 3 + 50) break;
    assert.ok(i + 1 < tries, told.join('; '));
  }
  await allHaveAll([...listeners, ...victims], [sender]);
});

// ---- workers that are stopped, and that hang ----

for (const [what, killed] of [['stopped for 5 s', false], ['that hangs', true]])
  test(`a worker ${what}: memory is bounded, then all arrives`, async (t) => {
    // With the bounds as they are by default: 1 MB waits for a client. The
    // others go on meanwhile, and what they say is several times that.
    const server = await start(t, { socket: patient.socket, log: { level: 'info' } });
    const topic = (i) => `test:t${(i >> 1) % 2}`; // on both workers
    const listeners = await members(server, 20, topic);
    const all = await senders(server, 4, topic, { window: 20, size: () => 5000, pause: 100 });
    t.after(() => closeAll(listeners, all.map((s) => s.listener)));
    const sending = Promise.all(all.map((s) => s.run()));
    sending.catch(() => {});
    await until(() => all.every((s) => s.accepted > 20), 'the beginning', LONG);
    const pids = await workersOf(server);
    const ours = server.processes();
    const before = ours.map(({ pid }) => kB(pid));
    const most = ours.map(() => 0);
    let measuring = true;
    const measured = (async () => {
      while (measuring) {
        ours.forEach(({ pid }, i) => {
          most[i] = Math.max(most[i], (kB(pid) ?? 0) - before[i]);
        });
        await delay(50);
      }
    })();
    const sentBefore = all.map((s) => s.accepted);
    const old = pids[1];
    stop(old);
    t.after(() => go(old));
    await (killed ? nextWorker(server, pids, 1) : delay(5000));
    // Those of the other worker go on: for the first one's clients this waits.
    const waiting = () => Math.max(...all.map((s, i) => s.accepted - sentBefore[i]));
    await until(() => waiting() > (asan ? 250 : 400), () => `${waiting()} broadcasts to wait`);
    const waited = waiting();
    if (killed) {
      await server.log(/pubsub 1\S* hangs: killed/);
      await gone(old);
    } else go(old);
    await delay(1000);
    all.forEach((s) => s.stop());
    await within(sending, () => 'the last replies', LONG);
    await allHaveAll(listeners, all);
    measuring = false;
    await measured;
    const grown = ours.map(({ title }, i) => [most[i], title]).sort((a, b) => b[0] - a[0]);
    t.diagnostic(`${waited} broadcasts waited; anonymous memory grew by at most ${grown[0]} kB`);
    // A worker may keep eight times backlog_max, of 1 MB, for a transport that
    // is held up meanwhile; for all clients it would be 20 MB and more.
    const bound = (title) => (/^bennu: pubsub/.test(title) ? 6000 + 8000 : 6000);
    if (!asan) assert.ok(grown.every(([most, title]) => most < bound(title)), JSON.stringify(grown));
    assert.equal(server.count(/overwritten|does not add up|closed:/), 0, server.logText.slice(-2000));
    assert.equal(describe(old) === null, killed);
  });

// ---- clients that do not read ----

// Times from the sending to each arrival: { median, p99 } in ms.
function figures(times) {
  times.sort((a, b) => a - b);
  return { median: times[times.length >> 1], p99: times[Math.floor(times.length * 0.99)] };
}

// Broadcasts n times; the times to all arrivals.
async function times(sender, listeners, n) {
  const sentAt = [];
  const taken = [];
  const first = sender.sent + 1;
  listeners.forEach((listener) => {
    listener.onNumbered = (number) => taken.push(performance.now() - sentAt[number - first]);
  });
  for (let i = 0; i < n; i++) {
    sentAt.push(performance.now());
    await sender.run(sender.sent + 1);
    await delay(20);
  }
  await until(() => {
    listeners.forEach((listener) => listener.check());
    return taken.length === n * listeners.length;
  }, () => `${taken.length} of ${n * listeners.length}`, LONG);
  return taken;
}

const timed = async (...args) => figures(await times(...args));

test('ten stopped readers and ten slow ones among a hundred', async (t) => {
  const server = await start(t, { socket: patient.socket, server: { ...patient.server, backlog_max: '200k' } });
  const listeners = await members(server, asan ? 20 : 100, () => 'test:a');
  const [sender] = await senders(server, 1, () => 'test:a', { size: () => 3000 });
  t.after(() => closeAll(listeners, [sender.listener]));
  const alone = await timed(sender, listeners, 150);
  const deaf = await members(server, 10, () => 'test:a');
  const slow = await members(server, 10, () => 'test:a');
  t.after(() => closeAll(deaf, slow));
  deaf.forEach((listener) => listener.pause());
  slow.forEach((listener) => listener.pause());
  const trickle = setInterval(() => slow.forEach((listener) => listener.socket.read(1000)), 1000);
  t.after(() => clearInterval(trickle));
  const beside = await timed(sender, listeners, 300);
  // Who does not read is closed, and the log says so; nobody else.
  const closed = () => server.count(/closed: .* is full \(backlog_policy = close\)/);
  const end = performance.now() + LONG;
  while (closed() < 20 && performance.now() < end) {
    // No more at once than a client may be behind by, whose worker is held up.
    await sender.run(sender.sent + 40);
    await allHaveAll(listeners, [sender]);
  }
  await server.settles({ transport: listeners.length + 1, channel: listeners.length + 1 });
  deaf.forEach((listener) => listener.resume());
  await Promise.all(deaf.map((listener) => listener.cut()));
  assert.ok(deaf.every((listener) => listener.count > 0));
  // Alone again: the machine may have become slower meanwhile.
  await allHaveAll(listeners, [sender]);
  const again = await timed(sender, listeners, 150);
  t.diagnostic(JSON.stringify({ alone, beside, again }));
  const slowest = (key) => Math.max(alone[key], again[key]);
  assert.ok(beside.median < slowest('median') * 5 + 50, JSON.stringify({ alone, beside, again }));
  assert.ok(beside.p99 < slowest('p99') * 5 + 300, JSON.stringify({ alone, beside, again }));
});
