// The orderly stop: what load balancers see of it, who is asked to end when,
// what a connection still gets, and that nothing of it outlasts its limit.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { gone, pendingSignals, rested } from './lib/procs.mjs';
import { asan, Server, start, temporary } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import { frame, head, takeClose, takeFrame, TEXT, upgraded, upgradeHead, Wire } from './lib/wire.mjs';

const quick = { 'test:*': { shutdown: '500ms' } };
// Whoever is not in the first batch is not asked before the test is over.
const forever = { drain_batch: 1, drain_interval: '10min', drain_limit: '20h' };

const stop = (server) => server.child.kill('SIGTERM');
const ready = (wire, method = 'GET') =>
  wire.request(head('/ready', {}, method), { head: method === 'HEAD' });

async function wireTo(t, server) {
  const wire = await Wire.open(server.port);
  t.after(() => wire.close());
  return wire;
}

// What a test that fails leaves open would keep this process.
const opened = [];
after(() => {
  for (const client of opened) client.socket.terminate();
});

// Clients that have joined one topic each.
async function joined(server, n, params = {}, topic = 'test:a') {
  const clients = [];
  for (let i = 0; i < n; i++) {
    const client = await server.connect();
    opened.push(client);
    client.channel = await client.join(topic, params);
    clients.push(client);
  }
  return clients;
}

// All are closed with 1012, and none has heard of the end of its channel.
async function closed(clients) {
  for (const client of clients) {
    assert.equal((await client.end()).code, 1012);
    assert.ok(!client.frames.some(([, , , event]) => /^phx_(close|error)$/.test(event)));
  }
}

// ---- readiness ----

test('GET /ready: 200 while clients are served', async (t) => {
  const pages = temporary();
  t.after(() => fs.rmSync(pages, { recursive: true }));
  fs.writeFileSync(path.join(pages, 'ready'), 'a file');
  const server = await start(t, { endpoint: { static: pages } });
  const wire = await wireTo(t, server);
  const { status, headers, body } = await ready(wire);
  assert.deepEqual([status, body], [200, 'ready']);
  assert.equal(headers['cache-control'], 'no-store');
  assert.equal(headers.connection, 'keep-alive');
  const { status: again, headers: { 'content-length': size } } = await ready(wire, 'HEAD');
  assert.deepEqual([again, size], [200, '5']);
  const post = await ready(wire, 'POST');
  assert.deepEqual([post.status, post.headers.allow], [405, 'GET, HEAD']);
});

test('ready = off: there is no such route', async (t) => {
  const server = await start(t, { endpoint: { ready: 'off' } });
  assert.equal((await ready(await wireTo(t, server))).status, 404);
});

// Killed until an answer is as it should be: the pauses before it is started
// again become longer each time.
async function killUntil(server, role, wire, isRight) {
  const find = () => server.below(server.pid).find(({ comm }) => comm === role);
  assert.ok(find(), role);
  return until(async () => {
    const worker = find();
    if (worker !== undefined) process.kill(worker.pid, 'SIGKILL');
    if (worker !== undefined) await gone(worker.pid);
    const answer = await ready(wire);
    return isRight(answer, find() === undefined) && answer;
  }, `the answer while ${role} is away`);
}

for (const role of ['pubsub', 'presence'])
  test(`GET /ready: 503 while ${role} is away`, async (t) => {
    const server = await start(t, { pubsub: 1 });
    const wire = await wireTo(t, server);
    const { body } = await killUntil(server, role, wire, ({ status }) => status === 503);
    assert.equal(body, 'starting');
    await until(async () => (await ready(wire)).status === 200, 'its return');
  });

test('GET /ready: 200 while a service is away', async (t) => {
  const server = await start(t, { services: { worker: { module: 'service.so:worker' } } });
  const wire = await wireTo(t, server);
  // Each answer, and one while it is certainly not there.
  await killUntil(server, 'service', wire, ({ status }, away) => {
    assert.equal(status, 200);
    return away;
  });
});

test('drain_delay: 503, and clients are still served', async (t) => {
  const server = await new Server({ server: { drain_delay: '10min' } }).ready();
  const wire = await wireTo(t, server);
  const [old] = await joined(server, 1);
  assert.equal((await ready(wire)).status, 200);
  stop(server);
  await server.log(/Terminated: stopping/);
  // It says so, then sets the page.
  await until(async () => (await ready(wire)).status !== 200, 'its page');
  for (const each of [wire, await wireTo(t, server)]) {
    const { status, headers, body } = await ready(each);
    assert.deepEqual([status, body], [503, 'stopping']);
    assert.equal(headers.connection, 'keep-alive');
  }
  const [late] = await joined(server, 1);
  await late.channel.ok('broadcast', { event: 'late' });
  await old.channel.event('late');
  assert.equal(server.count(/draining/), 0);
  // A second signal ends it.
  stop(server);
  await closed([old, late]);
  assert.equal((await wire.untilEnd()).length, 0);
  await server.ends(0);
});

test('drain_delay ends by itself', async () => {
  const server = await new Server({ server: { drain_delay: '300ms' } }).ready();
  const clients = await joined(server, 2);
  const began = performance.now();
  stop(server);
  await closed(clients);
  assert.ok(performance.now() - began > 298);
  await server.ends(0);
});

test('systemd hears how long it may take', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const server = await new Server({
    pubsub: 1,
    env: { NOTIFY_SOCKET: path.join(directory, 'nobody') },
    server: { drain_delay: '1s', drain_limit: '20s' },
  }).ready();
  stop(server);
  // 1 s, 20 s, 2 s for orphans, 5 s for each worker; nobody listens there.
  const [, us] = await server.log(/systemd is not told STOPPING=1.*EXTEND_TIMEOUT_USEC=(\d+)/);
  const workers = server.count(/bennu_sup: started: /);
  assert.equal(Number(us), (1 + 20 + 2 + 5 * workers) * 1e6);
  await server.ends(0);
});

// ---- listeners and batches ----

test('while connections are drained nobody else comes, and those that are left are served', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const file = path.join(directory, 'http.sock');
  const server = await new Server({ server: { ...forever, listen: ['127.0.0.1:0', `unix:${file}`] } }).ready();
  await server.log(/listening on unix:/);
  const clients = await joined(server, 3);
  const wires = [await wireTo(t, server), await wireTo(t, server)];
  for (const wire of wires) await ready(wire);
  stop(server);
  await server.log(/draining: 5 connections/);
  // One of the five is asked.
  await until(() => server.workers('transport').length === 4, 'the first one to end');
  await assert.rejects(Wire.open(server.port));
  assert.ok(!fs.existsSync(file), 'the socket file stays');
  const wire = wires.find((each) => !each.end);
  const { status, body } = await ready(wire);
  assert.deepEqual([status, body], [503, 'stopping']);
  const [one, two] = clients.filter(({ socket }) => socket.readyState === 1);
  await one.channel.ok('broadcast', { event: 'still' });
  await two.channel.event('still');
  stop(server);
  await server.log(/no more intervals/);
  await closed(clients);
  await server.ends(0);
});

test('batches: each in its interval; the last to go hear what the first say', async () => {
  const interval = 2500; // what is late is less late than that
  const server = await new Server({
    server: { drain_batch: 10, drain_interval: `${interval}ms`, drain_limit: '5min' },
  }).ready();
  const clients = await joined(server, 30, { terminate: 'broadcast' });
  const order = [];
  const began = performance.now();
  for (const client of clients)
    client.closed.then(() => order.push({ client, at: performance.now() - began }));
  stop(server);
  await closed(clients);
  // monotonic_ms() counts whole milliseconds.
  assert.ok(order[10].at > interval - 2, `the second batch came after ${order[10].at} ms`);
  assert.ok(order[20].at > 2 * interval - 2, `the third batch came after ${order[20].at} ms`);
  assert.ok(order[0].at < order[29].at - interval);
  const heard = order[29].client.frames.filter(([, , , event]) => event === 'terminated');
  assert.ok(heard.length >= 10, `${heard.length} were heard`);
  for (const frame of heard) assert.deepEqual(frame[4], { reason: 'draining' });
  await server.ends(0);
  assert.equal(server.count(/terminate draining ''/), 30);
});

test('nobody waits for connections that end by themselves', async () => {
  const server = await new Server({ server: forever }).ready();
  const clients = await joined(server, 5);
  stop(server);
  await Promise.race(clients.map((client) => client.closed));
  for (const client of clients) client.socket.close();
  for (const client of clients) await client.end();
  await server.ends(0);
});

test('drain_limit: intervals get shorter, who hangs or is stopped is killed', async () => {
  const server = await new Server({
    channels: quick,
    // Who cannot say its Close within `shutdown` is killed without one.
    server: { drain_batch: 1, drain_interval: '10min', drain_limit: '7s', shutdown: '4s' },
  }).ready();
  const clients = await joined(server, 20);
  for (const deed of ['hang', 'deaf_loop'])
    clients.push(...(await joined(server, 1, { terminate: { do: deed } })));
  clients.at(-1).channel.send('do', { do: 'loop' });
  await clients.at(-1).heartbeat();
  const [stopped] = await joined(server, 1);
  process.kill((await stopped.channel.pids()).transport, 'SIGSTOP');
  const began = performance.now();
  stop(server);
  await closed(clients);
  await stopped.end();
  await server.ends(0);
  // 3 s for the intervals, and some of it went by.
  assert.ok(performance.now() - began > 1500);
});

test(`${asan ? 100 : 300} connections: 1012 and terminate(draining) for each, and nothing stays`, async () => {
  const n = asan ? 100 : 300;
  const server = await new Server({
    server: { drain_batch: n / 2, drain_interval: '500ms', max_connections_per_address: 0 },
  }).ready();
  const clients = await joined(server, n);
  stop(server);
  await server.log(new RegExp(`draining: ${n} connections`));
  await closed(clients);
  await server.ends(0);
  assert.equal(server.count(/terminate draining ''/), n);
  assert.equal(server.count(/killed|child_terminated|shutdown_error/), 0, server.logText.slice(-2000));
  assert.ok(!fs.existsSync(server.run));
});

test('a stop while the first workers are being started', async () => {
  const server = new Server({ pubsub: 16 });
  await until(() => server.workers('pubsub').length > 0, 'pubsub');
  stop(server);
  await server.ends(0);
});

test('a stop before there is a worker: the run directory goes, too', async () => {
  for (let i = 0; i < 5; i++) {
    const server = new Server({ endpoint: { tree: 'true' } });
    const deadline = performance.now() + 10_000;
    // No event of ours would be early enough.
    while (!fs.existsSync(path.join(server.run, 'lock'))) assert.ok(performance.now() < deadline);
    stop(server);
    assert.deepEqual(await server.exited, { code: 0, signal: null });
    assert.ok(!fs.existsSync(server.run));
    await server.ends(0);
  }
});

// ---- one connection ----

// The transport that serves a connection to the server.
const transportOf = (server, wire) =>
  server.workers('transport').find(({ title }) => title.includes(`:${wire.socket.localPort}`)).pid;

// It has got SIGTERM, and has taken it.
async function ask(transport) {
  process.kill(transport, 'SIGTERM');
  await until(() => (pendingSignals(transport) & (1n << 14n)) === 0n, 'the signal');
}

// What was sent meanwhile is there together with the signal.
async function askWith(transport, wire, request) {
  process.kill(transport, 'SIGSTOP');
  await wire.write(request);
  process.kill(transport, 'SIGTERM');
  process.kill(transport, 'SIGCONT');
}

// A request of an endpoint that takes as long as the test likes: what lets it go
// on.
async function beginRequest(server, wire) {
  assert.equal((await wire.request(head('/about'))).status, 200);
  const [{ pid }] = server.below(transportOf(server, wire));
  process.kill(pid, 'SIGSTOP');
  await wire.write(head('/slow'));
  await rested(server);
  return () => process.kill(pid, 'SIGCONT');
}

async function answeredAndClosed(wire, expected) {
  const { status, headers, body } = await wire.response();
  assert.deepEqual([status, headers.connection], [expected, 'close'], body);
  assert.equal((await wire.untilEnd()).length, 0);
  return body;
}

test('an idle connection is closed without a word', async (t) => {
  const server = await start(t);
  const wire = await wireTo(t, server);
  await ready(wire);
  const transport = transportOf(server, wire);
  await ask(transport);
  assert.equal((await wire.untilEnd()).length, 0);
  wire.close();
  await gone(transport);
});

test('a request in progress is answered, with Connection: close', async (t) => {
  const server = await start(t, { endpoint: { module: 'endpoint.so:plain' } });
  const wire = await wireTo(t, server);
  const goOn = await beginRequest(server, wire);
  await ask(transportOf(server, wire));
  goOn();
  assert.equal(await answeredAndClosed(wire, 200), 'slow');
});

test('a stop of the whole waits for a request', async (t) => {
  const server = await new Server({ endpoint: { module: 'endpoint.so:plain' } }).ready();
  const wire = await wireTo(t, server);
  const goOn = await beginRequest(server, wire);
  stop(server);
  await server.log(/draining: 1 connections/);
  goOn();
  assert.equal(await answeredAndClosed(wire, 200), 'slow');
  await server.ends(0);
});

test('half a request may still become a whole one', async (t) => {
  // It has half of that to do so.
  const server = await start(t, { server: { shutdown: '60s' } });
  const wire = await wireTo(t, server);
  await wire.write('GET / HTTP/1.1\r\n');
  await until(() => server.workers('transport').length === 1, 'the transport');
  const transport = transportOf(server, wire);
  await ask(transport);
  await wire.write('Host: localhost\r\n\r\n');
  await answeredAndClosed(wire, 404);
});

test('but not for long', async (t) => {
  const server = await start(t, { channels: quick, server: { shutdown: '1s', head_timeout: '1h' } });
  const wire = await wireTo(t, server);
  await wire.write('GET / HTTP/1.1\r\n');
  await until(() => server.workers('transport').length === 1, 'the transport');
  await ask(transportOf(server, wire));
  await answeredAndClosed(wire, 408);
});

// Which of the two is heard first is nobody's to say.
test('a request that lies there unread is answered, and is the last one', async (t) => {
  const server = await start(t);
  const wire = await wireTo(t, server);
  await ready(wire);
  await askWith(transportOf(server, wire), wire, head('/ready'));
  assert.equal((await wire.response()).status, 200);
  assert.equal((await wire.untilEnd()).length, 0);
});

test('an upgrade that comes too late: 503, or 1012', async (t) => {
  const server = await start(t);
  const wire = await wireTo(t, server);
  await ready(wire);
  await askWith(transportOf(server, wire), wire, upgradeHead());
  const { status } = await wire.response();
  if (status === 101) assert.equal(await takeClose(wire), 1012);
  else assert.equal(status, 503);
  assert.equal((await wire.untilEnd()).length, 0);
});

test('an upgrade of which half came in time: 503', async (t) => {
  // Likewise.
  const server = await start(t, { server: { shutdown: '60s' } });
  const wire = await wireTo(t, server);
  const request = upgradeHead();
  await wire.write(request.slice(0, 20));
  await until(() => server.workers('transport').length === 1, 'the transport');
  await ask(transportOf(server, wire));
  await wire.write(request.slice(20));
  await answeredAndClosed(wire, 503);
});

test('a connect that is being asked: 503', async (t) => {
  const server = await start(t, { socket: { module: 'connect.so:user_socket', connect_timeout: '1h' } });
  const wire = await wireTo(t, server);
  const [{ pid }] = server.workers('connect');
  const sleeps = () => /^(35|230) /.test(fs.readFileSync(`/proc/${pid}/syscall`, 'latin1'));
  await wire.write(upgradeHead({}, '/socket/websocket?vsn=2.0.0&sleep=3600000'));
  await until(sleeps, 'connect to sleep');
  await ask(transportOf(server, wire));
  await answeredAndClosed(wire, 503);
  process.kill(pid, 'SIGKILL');
});

test('a client that never answers the Close is cut off', async (t) => {
  const server = await start(t);
  const wire = await upgraded(server.port);
  t.after(() => wire.close());
  const transport = transportOf(server, wire);
  await ask(transport);
  assert.equal(await takeClose(wire), 1012);
  await gone(transport);
});

test('a client that takes nothing is not waited for as long as usual', async (t) => {
  const server = await start(t, { channels: quick, server: { shutdown: '2s', send_timeout: '1h' } });
  const wire = await upgraded(server.port);
  t.after(() => wire.close());
  const transport = transportOf(server, wire);
  await wire.write(frame(TEXT, JSON.stringify(['1', '1', 'test:a', 'phx_join', {}])));
  await takeFrame(wire);
  wire.socket.pause();
  await wire.write(frame(TEXT, JSON.stringify(['1', '2', 'test:a', 'push', { n: 100, size: 100_000 }])));
  await until(() => server.workers('channel').length === 1, 'the channel');
  await delay(200); // what is pushed fills the sockets
  await ask(transport);
  await gone(transport);
});
