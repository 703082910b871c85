// Services: processes of the application that last; what they hear and say
// while they and their pubsub workers are killed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { asan, start, Server } from './lib/server.mjs';
import { describe, gone } from './lib/procs.mjs';
import { until } from './lib/wait.mjs';

const module = 'service.so:worker';
const OUT = 'service:out';
const IN = 'service:in';

// A server with services, and a client that hears them and can tell them things.
async function family(t, services, options = {}) {
  const server = await start(t, {
    channels: { 'service:*': {}, 'other:*': {} },
    endpoint: { tree: 'true' },
    services,
    ...options,
  });
  const client = await server.connect();
  t.after(() => client.socket.terminate());
  const out = await client.join(OUT);
  const into = await client.join(IN);
  const tell = (event, payload = {}) => into.ok('broadcast', { event, payload });
  const hear = async (event) => (await out.event(event))[4];
  // What they said as they started comes before this, or not at all.
  await tell('echo', { n: -1 });
  for (let i = Object.keys(services).length; i > 0; i--) await hear('echo');
  client.inbox.items.length = 0;
  client.frames.length = 0;
  return { server, client, tell, hear };
}

const service = (server, name) =>
  server.processes().find(({ title }) => title === `bennu: service ${name}`);

test('a service hears, says, and has timers', async (t) => {
  const { server, client, tell, hear } = await family(t, {
    worker: { module, options: { tick: 50 } },
  });
  const { title, comm, ppid, pid } = service(server, 'worker');
  assert.deepEqual({ title, comm, ppid }, { title: 'bennu: service worker', comm: 'service', ppid: server.pid });
  const { n } = await hear('tick');
  assert.equal((await hear('tick')).n, n + 1);
  await tell('echo', { n: 7 });
  assert.deepEqual(await hear('echo'), { name: 'worker', n: 7, pid });
  await tell('timer');
  const { n: left } = await hear('left');
  assert.ok(left > 3_500_000 && left <= 3_600_000, String(left));
  assert.equal((await hear('cancelled')).n, -1);
  await tell('bytes');
  assert.deepEqual([...(await hear('bytes'))], [0, 1]);

  const other = await client.join('other:1');
  await tell('subscribe', { topic: 'other:1' });
  await tell('subscribe', { topic: 'other:1' });
  await tell('echo', { n: 8 });
  await hear('echo');
  await other.ok('broadcast', { event: 'x', payload: {} });
  await hear('heard');
  await tell('unsubscribe', { topic: 'other:1' });
  await other.ok('broadcast', { event: 'x', payload: {} });
  await tell('echo', { n: 9 });
  await hear('echo');
  assert.equal(client.rest().filter((frame) => frame[3] === 'heard').length, 0);
});

test('a service has 100,000 topics, and one more is its crash', async (t) => {
  const { server, tell, hear } = await family(t, { worker: { module } });
  const { pid } = service(server, 'worker');
  await tell('subscribe_many', { n: 99_999 }); // and one that it has anyway
  await tell('echo', { n: 1 });
  assert.deepEqual(await hear('echo'), { name: 'worker', n: 1, pid });
  await tell('subscribe_many', { n: 100_000 });
  await server.log(/service worker\[\d+\]: .*bennu_service_subscribe: more than 100000 topics/);
  assert.notEqual((await hear('started')).pid, pid);
  assert.equal(server.count(/bad PS_SUBSCRIBE envelope/), 0);
});

test('a broadcast that is larger than a journal takes is its crash', async (t) => {
  const { server, tell, hear } = await family(t, { worker: { module } }, {
    server: { journal_size: '64k' },
  });
  await tell('large');
  await server.log(/service\.so:worker: a broadcast of 400\d\d bytes is larger than \d+, 1\/4 of journal_size/);
  assert.equal((await hear('started')).name, 'worker');
  await tell('echo', { n: 1 });
  assert.equal((await hear('echo')).n, 1);
});

test('a service that dies is started again', async (t) => {
  const { server, tell, hear } = await family(t, {
    one: { module },
    two: { module },
  });
  const one = service(server, 'one').pid;
  process.kill(one, 'SIGKILL');
  const { name, pid } = await hear('started');
  assert.equal(name, 'one');
  assert.notEqual(pid, one);
  await tell('echo', { n: 1 });
  assert.deepEqual([(await hear('echo')).name, (await hear('echo')).name].sort(), ['one', 'two']);
  // Crashes of both, by their own fault.
  for (const event of ['abort', 'nonsense', 'unknown']) {
    await tell(event);
    assert.deepEqual([(await hear('started')).name, (await hear('started')).name].sort(), ['one', 'two']);
  }
  await server.log(/service one\[\d+\]: service\.so:worker: a payload is no JSON: \{a\}/);
  await server.log(/service two\[\d+\]: .*handle_info does not know 'unknown' of service:in/);
});

test('in the tree, and killed from there', async (t) => {
  const { server, hear } = await family(t, { 'a-b_1': { module } });
  const base = `http://127.0.0.1:${server.port}/bennu`;
  const tree = await (await fetch(`${base}/tree`)).json();
  const node = tree.supervisor.children.find(({ role }) => role === 'service');
  const { pid } = service(server, 'a-b_1');
  assert.deepEqual(node, { id: 'service/a-b_1', role: 'service', title: '', pid, children: [] });
  const kill = (id) =>
    fetch(`${base}/kill`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Bennu-Token': server.token },
      body: JSON.stringify({ id }),
    });
  for (const [id, status] of [['service/none', 400], ['service/', 400], ['service/a-b_', 400]])
    assert.equal((await kill(id)).status, status, id);
  assert.equal((await kill('service/a-b_1')).status, 202);
  await gone(pid);
  assert.notEqual((await hear('started')).pid, pid);
  await server.log(/kill -9 of service a-b_1, asked for over HTTP/);
});

const ROUND = asan ? 100 : 500; // broadcasts of one callback
const KILLS = 20;

// Kills the pubsub workers in turn, KILLS times.
async function storm(server, kills) {
  for (; kills.n < KILLS; kills.n++) {
    const all = await until(() => {
      const workers = server.workers('pubsub');
      return workers.length === server.pubsub && workers;
    }, 'all workers');
    const { pid } = all[kills.n % all.length];
    process.kill(pid, 'SIGKILL');
    await gone(pid);
    await delay(20); // in the midst of what follows
  }
}

test('kill -9 of its pubsub worker: nothing lost, nothing doubled', async (t) => {
  const { server, client, tell, hear } = await family(t, { worker: { module } }, { pubsub: 2 });
  const kills = { n: 0 };
  const killing = storm(server, kills);
  let rounds = 0;
  // What comes to it, and what it says: many at once, and one behind them.
  while (kills.n < KILLS || rounds < KILLS) {
    await tell('count', { n: ROUND });
    await tell('echo', { n: rounds++ });
    if (rounds % 3 === 0) await until(async () => (await hear('echo')).n === rounds - 1, 'the last echo');
  }
  await killing;
  await tell('echo', { n: rounds });
  await until(async () => (await hear('echo')).n === rounds, 'the last echo');
  const of = (event) =>
    client.frames
      .filter((frame) => frame[2] === OUT && frame[3] === event)
      .map((frame) => frame[4].n);
  assert.deepEqual(of('echo'), Array.from({ length: rounds + 1 }, (_, i) => i));
  assert.deepEqual(
    of('seq'),
    Array.from({ length: rounds * ROUND }, (_, i) => (i % ROUND) + 1),
  );
  assert.equal(client.frames.filter((frame) => frame[3] === 'started').length, 0);
  t.diagnostic(`${rounds} rounds of ${ROUND}, ${kills.n} kills`);
});

test('killed with much of it on the way, it is heard again', async (t) => {
  const { server, client, tell, hear } = await family(t, { worker: { module } });
  for (let i = 0; i < 10; i++) {
    const { pid } = service(server, 'worker');
    await tell('count', { n: 2000 });
    await hear('seq');
    process.kill(pid, 'SIGKILL');
    await hear('started');
    await tell('echo', { n: i });
    assert.equal((await hear('echo')).n, i);
    client.inbox.items.length = 0;
  }
});

test('the end: services before pubsub, their last words accepted', async () => {
  const server = new Server({
    channels: { 'service:*': {} },
    services: { one: { module }, two: { module } },
  });
  await server.ready();
  const pids = ['one', 'two'].map((name) => service(server, name).pid);
  await server.stop();
  const lines = ['two', 'one'].map((name) =>
    server.lines.findIndex((line) => new RegExp(`service ${name}\\[\\d+\\]: terminate 2`).test(line)),
  );
  assert.ok(lines[0] !== -1 && lines[0] < lines[1], server.logText);
  for (const pid of pids) assert.equal(describe(pid), null);
});

test('SIGTERM of it alone', async (t) => {
  const { server, hear } = await family(t, { worker: { module } });
  process.kill(service(server, 'worker').pid, 'SIGTERM');
  assert.equal((await hear('terminated')).n, 2);
  await hear('started');
});

test('the death of the supervisor', async (t) => {
  const server = new Server({ services: { worker: { module } } });
  t.after(() => server.removeDirectory());
  await server.ready();
  await server.kill();
  await server.log(/service worker\[\d+\]: terminate 5/);
  await server.isGone();
});

test('it maps nothing of what pubsub workers share', async (t) => {
  const { server } = await family(t, { worker: { module } });
  const maps = fs.readFileSync(`/proc/${service(server, 'worker').pid}/maps`, 'latin1');
  assert.doesNotMatch(maps, /rw-s|r--s/);
  assert.match(maps, /service\.so/);
});

test('configuration and modules that are refused', async () => {
  const refused = async (services, pattern) => {
    const server = new Server({ services });
    await server.log(pattern);
    await server.stop({ code: 11 });
  };
  const line = /bennu\.conf:\d+: /.source;
  await refused({ a: {} }, new RegExp(`${line}service 'a' has no module`));
  await refused({ 'a b': { module } }, new RegExp(`${line}service 'a b': its name must be`));
  await refused({ a: { module: 'none.so:x' } }, new RegExp(`${line}module none.so:x: .*No such file`));
  await refused({ a: { module: 'service.so:none' } }, new RegExp(`${line}module .*has no service 'none'; define it with BENNU_SERVICE`));
  await refused({ a: { module: 'service.so:old' } }, new RegExp(`${line}module service.so:old was built for ABI 2`));
  await refused({ a: { module: 'service.so:empty' } }, new RegExp(`${line}module service.so:empty has neither start nor handle_info`));
  await refused({ a: { module, shutdown: '0' } }, new RegExp(`${line}shutdown '0'`));
  await refused({ a: { module, options: { fail: 1 } } }, /service a\[\d+\]: service\.so:worker: it could not start/);
});
