// Long poll: sessions are transports of their own. What their deaths cost, what
// they hold, who may reach them, and what is left of them: nothing.
import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { LongPoll, Socket } from 'phoenix';
import { descriptors, gone, inSession, pendingSignals, rested } from './lib/procs.mjs';
import { asan, Server, start, temporary } from './lib/server.mjs';
import { beaten, beginPoll, heartbeat, LINES, Poller, request, sessions, sockets, waits } from './lib/poller.mjs';
import { until, within } from './lib/wait.mjs';
import { head, Wire } from './lib/wire.mjs';

// Sessions that last, and are waited for, however slow the machine.
const lasting = {
  transports: ['websocket', 'longpoll'],
  longpoll_window: '10min',
  pubsub_timeout: '10min',
  connect_timeout: '10min',
};
const options = (socket, more = {}) => ({ socket, ...more });

// For tests that leave it as it was.
const server = await start({ after }, options(lasting, { endpoint: { tree: 'on' } }));

const isSession = (token, name) => Buffer.from(token.split('.')[1], 'base64url').includes(name);

// The process of a poller's session.
async function sessionOf(poller) {
  const channel = await poller.join('test:whose');
  return (await poller.call(channel, 'about')).ppid;
}

// ---- what there is ----

test('a session is a transport in ps and in the tree; its socket is its user’s alone', async (t) => {
  const own = await start(t, options(lasting, { endpoint: { tree: 'on' } }));
  const poller = await Poller.open(own);
  const [{ pid, title, ppid }] = sessions(own);
  assert.match(title, /^bennu: transport #\d+ 127\.0\.0\.1:\d+ longpoll \/socket$/);
  assert.equal(ppid, own.pid);
  const [name] = sockets(own);
  assert.ok(isSession(poller.token, name));
  const { mode } = fs.statSync(path.join(own.run, name));
  assert.equal(mode & 0o777, 0o600);
  const { children } = JSON.parse((await request(own, 'GET', { path: '/bennu/tree' })).body).supervisor;
  const node = children.find((child) => child.pid === pid);
  assert.equal(node.role, 'transport');
  assert.match(node.title, / longpoll \/socket$/);
  const killed = await request(own, 'POST', {
    path: '/bennu/kill',
    headers: { 'Content-Type': 'application/json', 'X-Bennu-Token': own.token },
    body: JSON.stringify({ id: node.id }),
  });
  assert.equal(killed.status, 202);
  await gone(pid);
  await until(() => sockets(own).length === 0, 'no socket');
  assert.equal((await poller.poll()).status, 410);
});

test('a session has no descriptor of a client, of the supervisor or of files', async (t) => {
  const own = await start(t, options(lasting));
  const poller = await Poller.open(own);
  await poller.join('test:a');
  const fds = Object.values(descriptors(sessions(own)[0].pid)).filter((what) => !/^(\/dev\/null|pipe:)/.test(what));
  assert.ok(fds.every((what) => /^(socket|anon_inode):/.test(what)), fds.join());
});

// ---- deaths ----

// Its session ended under a poll: 204, and the next one is told. Or the session
// had not taken the poll yet: then it was not there any more, and a new one is.
function assertEnded({ json: { status, token, messages } }, poller) {
  assert.deepEqual([status, messages], [token === poller.token ? 204 : 410, []]);
}

test('kill -9: a waiting poll is answered 204, the next one has a new session', async (t) => {
  const own = await start(t, options(lasting));
  const poller = await Poller.open(own);
  await poller.join('test:a');
  const [{ pid }] = sessions(own);
  const [channel] = own.workers('channel');
  const { answer } = await beginPoll(poller);
  process.kill(pid, 'SIGKILL');
  assertEnded(await answer, poller);
  assert.equal(await poller.send(heartbeat('1')), 410);
  const again = await poller.poll();
  assert.deepEqual([again.status, again.messages], [410, []]);
  assert.notEqual(again.token, poller.token);
  await gone(channel.pid);
  assert.equal(await Object.assign(poller, again).send(heartbeat('2')), 200);
});

// The official client over long poll.
class Official {
  constructor(own) {
    this.socket = new Socket(`http://127.0.0.1:${own.port}/socket`, {
      transport: LongPoll,
      reconnectAfterMs: () => 10,
      rejoinAfterMs: () => 10,
    });
    this.opens = 0;
    this.socket.onOpen(() => this.opens++);
    this.socket.onError(() => {});
    this.socket.connect();
    this.channel = this.socket.channel('test:official');
  }

  outcome(push) {
    return within(
      new Promise((resolve) => {
        for (const status of ['ok', 'error', 'timeout']) push.receive(status, (response) => resolve([status, response]));
      }),
      () => 'the outcome of a push',
    );
  }
}

test('kill -9 under the official client: it rejoins, three times', async (t) => {
  const own = await start(t, options(lasting));
  const official = new Official(own);
  t.after(() => official.socket.disconnect());
  assert.equal((await official.outcome(official.channel.join()))[0], 'ok');
  let last = 0;
  for (let i = 0; i < 3; i++) {
    const [, { ppid }] = await official.outcome(official.channel.push('about', {}));
    assert.notEqual(ppid, last);
    last = ppid;
    const opens = official.opens;
    process.kill(ppid, 'SIGKILL');
    await until(() => official.opens > opens && official.channel.state === 'joined', 'the rejoin');
    assert.deepEqual(await official.outcome(official.channel.push('echo', { i })), ['ok', { i }]);
  }
});

test('SIGTERM: its channels are draining, a waiting poll is answered', async (t) => {
  const own = await start(t, options(lasting));
  const poller = await Poller.open(own);
  await poller.join('test:a');
  const [{ pid }] = sessions(own);
  const { answer } = await beginPoll(poller);
  process.kill(pid, 'SIGTERM');
  assertEnded(await answer, poller);
  await own.log(/terminate draining/);
  assert.equal((await poller.poll()).status, 410);
});

test('the server stops while polls wait: they are answered, and nothing is left', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  const own = await new Server({ ...options(lasting), directory }).ready();
  const pollers = await Promise.all(Array.from({ length: 10 }, () => Poller.open(own)));
  await Promise.all(pollers.map((poller) => poller.join('test:a')));
  const waiting = await Promise.all(pollers.map((poller) => beginPoll(poller)));
  assert.equal(sockets(own).length, 10);
  await own.stop();
  for (const { answer } of waiting) assert.ok([204, 500].includes((await answer).json.status));
  assert.equal(own.count(/terminate draining/), 10);
  assert.ok(!fs.existsSync(own.run));
});

test('SIGTERM to a transport whose poll the session has not taken yet: it is answered then', async (t) => {
  const own = await start(t, options(lasting));
  const poller = await Poller.open(own);
  const [{ pid }] = sessions(own);
  const others = () => own.workers('transport').filter((p) => p.pid !== pid);
  await until(() => others().length === 0, 'the end of its transport');
  process.kill(pid, 'SIGSTOP');
  const wire = await Wire.open(own.port);
  t.after(() => wire.close());
  await wire.write(head(`/socket/longpoll?vsn=2.0.0&token=${poller.token}`));
  await until(() => waits(poller) === 1, 'the poll');
  const [transport] = others();
  process.kill(transport.pid, 'SIGTERM');
  await until(() => pendingSignals(transport.pid) === 0n, 'the signal');
  process.kill(pid, 'SIGCONT');
  // Long before the end of its window.
  assert.equal(JSON.parse((await wire.response()).body).status, 204);
  await wire.untilEnd();
});

test('kill -9 of the supervisor and of sessions: their sockets go with the next start', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  const old = await new Server({ ...options(lasting), directory }).ready();
  const poller = await Poller.open(old);
  await Poller.open(old);
  for (const { pid } of sessions(old)) process.kill(pid, 'SIGSTOP');
  await old.kill();
  for (const { pid } of sessions(old)) process.kill(pid, 'SIGKILL');
  await old.isGone();
  assert.equal(sockets(old).length, 2);
  const own = await start(t, { ...options(lasting), directory });
  assert.deepEqual(sockets(own), []);
  const { status, token } = await (Object.assign(poller, { server: own })).poll();
  assert.equal(status, 410);
  assert.notEqual(token, poller.token);
});

test('pubsub is killed: a session loses nothing of what is broadcast afterwards', async (t) => {
  const own = await start(t, options(lasting, { pubsub: 1 }));
  const [poller, other] = await Promise.all([Poller.open(own), Poller.open(own)]);
  const [a, b] = await Promise.all([poller.join('test:a'), other.join('test:a')]);
  process.kill(own.workers('pubsub')[0].pid, 'SIGKILL');
  await other.send([b.joinRef, 'x', 'test:a', 'broadcast', { n: 5 }]);
  const news = await poller.take(5);
  assert.deepEqual(news.map((m) => [m[0], m[3], m[4].i]), [0, 1, 2, 3, 4].map((i) => [null, 'news', i]));
  assert.deepEqual(await poller.call(a, 'echo', { x: 1 }), { x: 1 });
});

// ---- opening ----

const asked = {
  socket: { ...lasting, module: 'connect.so:user_socket' },
  channels: { 'who:*': { module: 'connect.so:who' } },
};

test('the application says who may, and what its channels know', async (t) => {
  const own = await start(t, { ...asked, socket: { ...asked.socket, auth_token: 'on' } });
  const poller = await Poller.open(own, {
    query: { id: 'users:7', 'a[b]': '1' },
    headers: { 'X-Phoenix-AuthToken': 'se cret' },
  });
  assert.match(sessions(own)[0].title, / longpoll \/socket users:7$/);
  const { response } = await poller.join('who:a');
  assert.equal(response.id, 'users:7');
  assert.equal(response.transport, 'longpoll');
  assert.equal(response.assigns.token, 'se cret');
  assert.deepEqual(response.params, { vsn: '2.0.0', id: 'users:7', a: { b: '1' } });
  for (const [what, status] of [['refuse', 403], ['crash', 500], ['garbage', 500]]) {
    const { status: http, json } = await request(own, 'GET', { query: { vsn: '2.0.0', do: what } });
    assert.deepEqual([http, json], [200, { status }], what);
  }
  assert.equal(sessions(own).length, 1);
});

test('who asks goes away while the application is asked: there is no session', async (t) => {
  const own = await start(t, asked);
  // It answers when nobody waits for that any more.
  const [{ pid: connect }] = own.workers('connect');
  process.kill(connect, 'SIGSTOP');
  const stop = new AbortController();
  const asking = request(own, 'GET', { query: { vsn: '2.0.0', sleep: '300' }, signal: stop.signal });
  asking.catch(() => {});
  const [{ pid }] = await until(() => own.workers('transport').length === 1 && own.workers('transport'), 'the request');
  await rested(own);
  stop.abort();
  await assert.rejects(asking);
  await gone(pid);
  process.kill(connect, 'SIGCONT');
  // The next one waits behind it.
  await Poller.open(own);
  assert.equal(sessions(own).length, 1);
});

test('the transport of a request is killed in the middle of an opening: so is the session', async (t) => {
  const own = await start(t, { ...asked, pubsub: 1 });
  const [{ pid: pubsub }] = own.workers('pubsub');
  process.kill(pubsub, 'SIGSTOP'); // it does not confirm the socket's id
  const asking = request(own, 'GET', { query: { vsn: '2.0.0', id: 'users:1' } });
  asking.catch(() => {});
  await until(() => sockets(own).length === 1, 'the session');
  // In the order of their numbers: the request's, the session's.
  const number = ({ title }) => Number(/#(\d+)/.exec(title)[1]);
  const all = own.workers('transport').sort((a, b) => number(a) - number(b)).map((p) => p.pid);
  assert.equal(all.length, 2);
  process.kill(all[0], 'SIGKILL');
  await assert.rejects(asking);
  await gone(all[1]);
  await until(() => sockets(own).length === 0, 'no socket');
  process.kill(pubsub, 'SIGCONT');
});

test('a session that pubsub does not confirm is not opened', async (t) => {
  const own = await start(t, { ...asked, socket: { ...asked.socket, connect_timeout: '500ms' }, pubsub: 1 });
  const [{ pid: pubsub }] = own.workers('pubsub');
  process.kill(pubsub, 'SIGSTOP');
  const { json } = await request(own, 'GET', { query: { vsn: '2.0.0', id: 'users:1' } });
  assert.deepEqual(json, { status: 500 });
  await own.settles({ connect: 1 });
  assert.deepEqual(sockets(own), []);
  // Not before: a session that is confirmed before it hears that nobody waits
  // for it any more is open, for as long as one that nobody polls.
  process.kill(pubsub, 'SIGCONT');
});

test('disconnect by its id ends a session; the poll that waits is answered 204', async (t) => {
  const own = await start(t, asked);
  const [poller, other] = await Promise.all([Poller.open(own, { query: { id: 'u' } }), Poller.open(own)]);
  const b = await other.join('who:b');
  const { answer } = await beginPoll(poller);
  await other.send([b.joinRef, '9', 'who:b', 'disconnect', { text: 'u' }]);
  assertEnded(await answer, poller);
  assert.equal(await poller.send(heartbeat('1')), 410);
});

// ---- tokens ----

test('a token that was tampered with is none', async () => {
  const poller = await Poller.open(server);
  const { token } = poller;
  const bad = [
    ...Array.from(token, (c, i) => token.slice(0, i) + (c === 'A' ? 'B' : 'A') + token.slice(i + 1)),
    token.slice(0, -1),
    `${token}A`,
    `${token}.${token}`,
    token.split('.').slice(0, 2).join('.'),
    '',
    '.',
    'lp-../../../etc/passwd',
    'x'.repeat(8000),
    '%00',
    '\u0000',
    '☃',
  ];
  const before = sessions(server).length;
  for (const one of bad) {
    assert.equal(await poller.post('[]', LINES, { query: { token: one } }), 410, one);
    // A header wins over the query.
    if (/^[\x20-\x7e]*$/.test(one))
      assert.equal(await poller.post('[]', LINES, { headers: { 'X-Phoenix-LongPoll-Token': one, 'Content-Type': LINES } }), 410, one);
  }
  assert.equal(sessions(server).length, before);
  assert.equal(await poller.send(heartbeat('1')), 200);
  assert.deepEqual(await poller.take(1), [beaten('1')]);
  const { json } = await poller.request('GET', { query: { token: bad[5] } });
  assert.equal(json.status, 410);
  assert.notEqual(json.token, token);
});

test('a token is good for its mount only, and for its server', async (t) => {
  const keys = 'transports = {"longpoll"} longpoll_window = 10min pubsub_timeout = 10min channel "test:*" { module = "systest.so:systest" }';
  const own = await start(t, {
    text: `server { listen = {"127.0.0.1:0"} }
socket "/a" { ${keys} }
socket "/b" { ${keys} check_origin = {"//a.example"} }
socket "/c" { channel "test:*" { module = "systest.so:systest" } }`,
  });
  const poller = await Poller.open(own, { path: '/b/longpoll' });
  assert.equal(await poller.post('[]', LINES, { path: '/a/longpoll' }), 410);
  assert.deepEqual((await poller.request('GET', { headers: { Origin: 'http://b.example' } })).json, { status: 403 });
  assert.deepEqual((await poller.request('POST', { headers: { Origin: 'http://b.example' } })).json, { status: 403 });
  assert.deepEqual((await poller.request('OPTIONS', { headers: { Origin: 'http://b.example' } })).json, { status: 403 });
  assert.equal(await poller.post(JSON.stringify(heartbeat('1')), LINES, { headers: { Origin: 'http://a.example', 'Content-Type': LINES } }), 200);
  const elsewhere = await Poller.open(server);
  assert.equal(await Object.assign(elsewhere, { server: own }).post('[]', LINES, { path: '/a/longpoll' }), 410);
  assert.equal((await request(own, 'GET', { path: '/c/longpoll', query: { vsn: '2.0.0' } })).status, 404);
  assert.equal((await request(own, 'GET', { path: '/a/websocket', query: { vsn: '2.0.0' } })).status, 404);
  assert.equal((await request(own, 'GET', { path: '/a/longpoll/', query: { vsn: '2.0.0' } })).json.status, 410);
});

// ---- requests ----

test('OPTIONS and other methods', async () => {
  const { status, headers, body } = await request(server, 'OPTIONS', {
    headers: { 'Access-Control-Request-Headers': 'x-a, content-type', Origin: 'http://a.example' },
  });
  assert.deepEqual([status, body], [200, '']);
  assert.equal(headers['access-control-allow-origin'], '*');
  assert.equal(headers['access-control-allow-headers'], 'x-a, content-type');
  assert.equal(headers['access-control-allow-methods'], 'get, post, options');
  assert.equal(headers['access-control-max-age'], '3600');
  for (const method of ['PUT', 'DELETE', 'PATCH', 'HEAD']) {
    const answer = await request(server, method);
    assert.deepEqual([answer.status, answer.body], [400, ''], method);
  }
  const first = await request(server, 'GET', { query: { vsn: '2.0.0' } });
  assert.equal(first.headers['content-type'], 'application/json; charset=utf-8');
  assert.equal(first.headers['cache-control'], 'no-store');
  assert.equal(first.headers['access-control-allow-origin'], '*');
  for (const vsn of ['9.0.0', '2', 'abc'])
    assert.deepEqual((await request(server, 'GET', { query: { vsn } })).json, { status: 403 });
  assert.equal((await request(server, 'GET', { path: '/socket/longpoll?a=%zz&b=' })).status, 400);
});

test('what a HEAD is refused with has no body, foreign or not', async (t) => {
  const own = await start(t, options({ ...lasting, check_origin: ['//good.example'] }));
  const wire = await Wire.open(own.port);
  t.after(() => wire.close());
  for (const Origin of ['http://evil.example', 'http://good.example']) {
    await wire.write(head('/socket/longpoll?vsn=2.0.0', { Origin }, 'HEAD') + head('/socket/longpoll?vsn=2.0.0'));
    assert.equal((await wire.response({ head: true })).status, 400);
    const next = await wire.response();
    assert.deepEqual([next.status, JSON.parse(next.body).status], [200, 410]);
  }
});

test('one connection: requests of several sessions, one behind the other and all at once', async (t) => {
  const pollers = await Promise.all([Poller.open(server), Poller.open(server)]);
  const wire = await Wire.open(server.port);
  t.after(() => wire.close());
  const at = (poller) => `/socket/longpoll?vsn=2.0.0&token=${poller.token}`;
  const post = (poller, ref) => {
    const body = JSON.stringify(heartbeat(ref));
    return head(at(poller), { 'Content-Type': LINES, 'Content-Length': String(body.length) }, 'POST') + body;
  };
  await wire.write(
    post(pollers[0], 'a') + head(at(pollers[0])) + post(pollers[1], 'b') + head(at(pollers[1])) + head('/socket/longpoll?vsn=2.0.0'),
  );
  const answers = [];
  for (let i = 0; i < 5; i++) answers.push(JSON.parse((await wire.response()).body));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200, 410]);
  assert.deepEqual(answers[1].messages.map(JSON.parse), [beaten('a')]);
  assert.deepEqual(answers[3].messages.map(JSON.parse), [beaten('b')]);
  // What follows a poll is read when that is answered.
  await wire.write(head(at(pollers[0])) + post(pollers[1], 'c'));
  assert.equal(await pollers[0].send(heartbeat('d')), 200);
  assert.deepEqual(JSON.parse((await wire.response()).body).messages.map(JSON.parse), [beaten('d')]);
  assert.deepEqual(JSON.parse((await wire.response()).body), { status: 200 });
});

test('a client that asks before it sends its body, and one of HTTP/1.0', async (t) => {
  const poller = await Poller.open(server);
  const path = `/socket/longpoll?vsn=2.0.0&token=${poller.token}`;
  const body = JSON.stringify(heartbeat('1'));
  const wire = await Wire.open(server.port);
  t.after(() => wire.close());
  await wire.write(head(path, { 'Content-Type': LINES, 'Content-Length': String(body.length), Expect: '100-continue' }, 'POST'));
  assert.equal((await wire.takeUntil('\r\n\r\n')).toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
  assert.deepEqual(JSON.parse((await wire.request(body)).body), { status: 200 });
  const old = await Wire.open(server.port);
  t.after(() => old.close());
  const { headers, body: answer } = await old.request(`GET ${path} HTTP/1.0\r\n\r\n`);
  assert.equal(headers.connection, 'close');
  assert.deepEqual(JSON.parse(answer).messages.map(JSON.parse), [beaten('1')]);
  await old.untilEnd();
});

test('a client that goes away during a poll: what comes then is for the next poll', async () => {
  const poller = await Poller.open(server);
  const stop = new AbortController();
  const { answer } = await beginPoll(poller, { signal: stop.signal });
  stop.abort();
  await assert.rejects(answer);
  await until(() => waits(poller) === 0, 'the session to hear of it');
  assert.equal(await poller.send(heartbeat('1')), 200);
  assert.deepEqual(await poller.take(1), [beaten('1')]);
});

test('two polls at once: the later one is served, the earlier one ends with its window', async (t) => {
  const own = await start(t, options({ ...lasting, longpoll_window: '3s' }));
  const poller = await Poller.open(own);
  const { answer } = await beginPoll(poller);
  const later = poller.poll();
  await until(() => waits(poller) === 2, 'the second poll');
  await rested(own);
  assert.equal(await poller.send(heartbeat('1')), 200);
  assert.deepEqual((await later).messages, [beaten('1')]);
  const { json, ms } = await answer;
  assert.deepEqual([json.status, json.messages], [204, []]);
  assert.ok(ms >= 2990, `${ms} ms`);
});

test('many polls at once: no more than the session takes, and the last one is served', async () => {
  const poller = await Poller.open(server);
  const stop = new AbortController();
  setMaxListeners(100, stop.signal);
  const all = Array.from({ length: 80 }, () => poller.poll({ signal: stop.signal }).catch((error) => error));
  await until(() => waits(poller) >= 60, 'the polls');
  stop.abort();
  await Promise.all(all);
  assert.equal(await poller.send(heartbeat('1')), 200);
});

test('a hundred polls at once: none is told that its session is gone, nor is a post', async (t) => {
  // Who is not taken before the first windows end is told that nothing is there.
  const own = await start(t, options({ ...lasting, longpoll_window: '5500ms', pubsub_timeout: '5s' }));
  const poller = await Poller.open(own);
  const all = Array.from({ length: 100 }, () => poller.poll());
  await until(() => waits(poller) >= 60, 'the polls');
  assert.equal(await poller.send(heartbeat('1')), 200);
  const answers = await Promise.all(all);
  assert.deepEqual(answers.filter(({ status }) => status === 200).flatMap(({ messages }) => messages), [beaten('1')]);
  assert.equal(answers.filter(({ status }) => status === 204).length, 99);
  assert.equal(sessions(own).length, 1);
});

// ---- posts ----

test('lines, their number, and other types', async () => {
  const poller = await Poller.open(server);
  const beats = (n, from = 0) => Array.from({ length: n }, (_, i) => JSON.stringify(heartbeat(String(i + from))));
  assert.equal(await poller.post(beats(101).join('\n')), 200);
  assert.deepEqual((await poller.take(100)).map((m) => m[1]), Array.from({ length: 100 }, (_, i) => String(i)));
  assert.equal(await poller.post(`${beats(2).join('\r\n')}\r\n`), 200);
  assert.equal((await poller.take(2)).length, 2);
  assert.equal(await poller.post(beats(1)[0], `${LINES}; charset=utf-8`), 200);
  assert.equal(await poller.post(beats(1)[0], 'text/plain'), 200);
  assert.equal((await poller.take(2)).length, 2);
  assert.equal(await poller.post(''), 200);
  const bytes = Buffer.concat([Buffer.from([0, 0, 1, 7, 9]), Buffer.from('7phoenixheartbeat')]);
  assert.equal(await poller.post(bytes.toString('base64')), 200);
  assert.deepEqual(await poller.take(1), [beaten('7')]);
  for (const bad of ['{}', '*', 'AAA', 'AAAA=', 'A===', 'AA AA', '☃', `${beats(1)[0]}\n=`]) {
    const { status, body } = await poller.request('POST', { body: bad, headers: { 'Content-Type': LINES } });
    assert.deepEqual([status, body], [500, ''], bad);
  }
  assert.deepEqual((await poller.send(heartbeat('x'))), 200);
  assert.deepEqual(await poller.take(1), [beaten('x')]);
});

test('8,000,000 bytes are taken, one more is 400, whatever body_max says', async (t) => {
  const own = await start(t, options(lasting, { server: { body_max: '1k' } }));
  const poller = await Poller.open(own);
  const channel = await poller.join('test:a');
  const line = (size) => {
    const around = JSON.stringify([channel.joinRef, 'r', 'test:a', 'quiet', { pad: '' }]);
    return around.replace('""', `"${'x'.repeat(size - around.length)}"`);
  };
  assert.equal(await poller.post(line(8_000_000)), 200);
  for (const headers of [{}, { 'Transfer-Encoding': 'chunked' }]) {
    const wire = await Wire.open(own.port);
    t.after(() => wire.close());
    const body = 'x'.repeat(8_000_001);
    const size = headers['Transfer-Encoding'] ? {} : { 'Content-Length': String(body.length) };
    await wire.write(head(`/socket/longpoll?vsn=2.0.0&token=${poller.token}`, { ...headers, ...size }, 'POST') + (size['Content-Length'] ? '' : '7a1201\r\n'));
    assert.equal((await wire.response()).status, 400);
  }
  assert.equal(await poller.send([channel.joinRef, '2', 'test:a', 'echo', {}]), 200);
  assert.equal((await poller.take(1))[0][1], '2');
});

test('a malformed message ends the session', async () => {
  const bad = [
    '[',
    '[]',
    '[1,2,3,4]',
    '["1","1","test:a","x",{}]]',
    'AAAA',
    '/w==',
    `[${'['.repeat(100_000)}`,
    '["\ud800"]',
    Buffer.from([0x5b, 0xff, 0x5d]),
  ];
  for (const body of bad) {
    const poller = await Poller.open(server);
    assert.notEqual(await poller.post(body), 200, String(body).slice(0, 50));
    assert.equal(await poller.post('[]'), 410);
  }
  for (const body of ['', 'null', '{"topic":1}', '\u0000']) {
    const poller = await Poller.open(server, { vsn: '1.0.0' });
    assert.notEqual(await poller.post(body, 'application/json'), 200, body);
    assert.equal((await poller.poll()).status, 410);
  }
});

test('bodies of every size and kind leave the server as it was', async () => {
  const before = new Set(sessions(server).map(({ pid }) => pid));
  let poller = await Poller.open(server);
  const kinds = ['[', 'A', '\n', '\r\n', '"', '=', '\u0000', '{', '[1],'];
  for (let i = 0; i < (asan ? 60 : 300); i++) {
    const body = kinds[i % kinds.length].repeat(2 ** (i % 16)) + kinds[(i * 7) % kinds.length];
    const status = await poller.post(body, i % 5 === 0 ? 'text/plain' : LINES);
    assert.ok([200, 408, 410, 500].includes(status), `${status} for ${body.slice(0, 20)}`);
    if ((await poller.send(heartbeat(`${i}`))) !== 200) poller = await Poller.open(server);
    else assert.deepEqual(await poller.take(1), [beaten(`${i}`)]);
  }
  await until(() => sessions(server).filter(({ pid }) => !before.has(pid)).length === 1, 'the ends of sessions');
});

test('a join that takes longer than the window: 408; what is behind it is not looked at', async (t) => {
  const own = await start(t, options({ ...lasting, longpoll_window: '3s', join_timeout: '10min' }));
  const poller = await Poller.open(own);
  const gate = path.join(own.directory, 'gate');
  const join = (n, params) => [`${n}`, `${n}`, `test:${n}`, 'phx_join', params];
  const slow = poller.send(join(1, { join: { do: 'wait_file', path: gate } }), heartbeat('behind'));
  await until(() => waits(poller) === 1, 'the join');
  await rested(own);
  // Another request has its turn behind the join, and its own window.
  const other = poller.send(heartbeat('other'));
  assert.equal(await slow, 408);
  assert.equal(await other, 408);
  fs.writeFileSync(gate, '');
  const got = await poller.take(2);
  assert.deepEqual(got.map((m) => m[1]), ['1', 'other']);
  assert.equal(await poller.send(heartbeat('last')), 200);
  assert.deepEqual(await poller.take(1), [beaten('last')]);
});

test('several posts at once: each is answered, and has its order', async () => {
  const poller = await Poller.open(server);
  const { joinRef, topic } = await poller.join('test:a');
  const posts = Array.from({ length: 8 }, (_, p) =>
    poller.send(...Array.from({ length: 20 }, (_, i) => [joinRef, `${p}.${i}`, topic, 'echo', {}])),
  );
  assert.deepEqual(await Promise.all(posts), Array(8).fill(200));
  const refs = (await poller.take(160)).map((m) => m[1].split('.').map(Number));
  for (let p = 0; p < 8; p++)
    assert.deepEqual(refs.filter(([post]) => post === p).map(([, i]) => i), Array.from({ length: 20 }, (_, i) => i));
});

// ---- what waits ----

test('bytes cannot go to a long-poll client: that poll fails, nothing else', async () => {
  const poller = await Poller.open(server);
  const { joinRef, topic } = await poller.join('test:a');
  await poller.send([joinRef, '2', topic, 'bytes', {}], [joinRef, '3', topic, 'echo', {}]);
  const outcomes = [];
  while (!outcomes.includes('3')) {
    const { status, json } = await poller.request('GET');
    outcomes.push(...(status === 500 ? [500] : json.messages.map((m) => JSON.parse(m)[1])));
  }
  assert.deepEqual(outcomes, [500, 500, 500, '3']);
});

test('a message of megabytes, and many of them', async (t) => {
  const own = await start(t, options(lasting, { server: { backlog_max: '100k' } }));
  const poller = await Poller.open(own);
  const { joinRef, topic } = await poller.join('test:a');
  await poller.send([joinRef, '2', topic, 'push', { n: 6, size: 3_000_000 }]);
  const items = await poller.take(7);
  assert.deepEqual(items.slice(0, 6).map((m) => [m[4].i, m[4].pad.length]), [0, 1, 2, 3, 4, 5].map((i) => [i, 3_000_000]));
  assert.equal(items[6][1], '2');
});

const memory = (pid) => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

for (const policy of ['close', 'drop'])
  test(`a session that nobody polls keeps no more than backlog_max (${policy})`, async (t) => {
    const own = await start(t, options(lasting, { server: { backlog_max: '200k', backlog_policy: policy } }));
    const [poller, sender] = await Promise.all([Poller.open(own), own.connect()]);
    const channel = await poller.join('test:a');
    const [{ pid }] = sessions(own);
    const before = memory(pid);
    const loud = await sender.join('test:a');
    // Pushes wait in the channel.
    await poller.send([channel.joinRef, '2', 'test:a', 'push', { n: 200, size: 20_000 }]);
    const payload = { pad: 'x'.repeat(10_000) };
    for (let i = 0; i < 100; i++) await loud.ok('broadcast', { payload, n: 5 });
    if (policy === 'close') {
      await own.log(/closed: .* is full \(backlog_policy = close\)/);
      assert.equal((await poller.poll()).status, 410);
      return;
    }
    await own.log(/broadcasts are dropped/);
    if (!asan) assert.ok(memory(pid) - before < 3_000_000, `${before} to ${memory(pid)}`);
    // It goes on where it was.
    let items = 0;
    while (items < 200) items += (await poller.poll()).messages.filter((m) => m[3] === 'item').length;
    await sender.close();
  });

const WINDOW = 800; // ms of longpoll_window

// A session that was polled n times, one poll behind the other. Between the
// beginnings of two polls a window and a half may go by: where we take longer
// ourselves it may be gone, and another one has to do.
async function polled(own, n) {
  for (;;) {
    let before = performance.now();
    const poller = await Poller.open(own);
    let i = 0;
    for (; i < n; i++) {
      const began = performance.now();
      const { status } = await poller.poll();
      if (status !== 204) {
        const ms = performance.now() - before;
        assert.ok(status === 410 && ms > 1.5 * WINDOW, `${status} after ${ms} ms`);
        break;
      }
      before = began;
    }
    if (i === n) return poller;
  }
}

// One that has joined, and that nobody polls.
async function unpolled(own, topic, params) {
  for (;;) {
    const began = performance.now();
    const poller = await Poller.open(own);
    const status = await poller.send(['1', '1', topic, 'phx_join', params]);
    // 408: the join took a window. It goes on.
    if (status !== 410) return poller;
    assert.ok(performance.now() - began > 1.5 * WINDOW);
  }
}

test('a session lives as long as somebody polls, and three windows more at most', async (t) => {
  const own = await start(t, options({ ...lasting, longpoll_window: `${WINDOW}ms` }));
  const watch = await (await own.connect()).join('test:other');
  const other = await unpolled(own, 'test:other', { terminate: 'broadcast' });
  const poller = await polled(own, 8);
  assert.equal((await watch.event('terminated'))[4].reason, 'closed');
  await until(() => !sockets(own).some((name) => isSession(other.token, name)), 'no socket of it');
  assert.equal((await other.poll()).status, 410);
  // Posts do not count.
  const began = performance.now();
  while ((await poller.send(heartbeat('1'))) === 200) assert.ok(performance.now() - began < 60_000);
  assert.ok(performance.now() - began < 20 * WINDOW || asan);
});

test('a session that was held up itself does not end under its poll', async (t) => {
  const window = 2000; // ms; then half of it is left for the next poll
  const own = await start(t, options({ ...lasting, longpoll_window: `${window}ms` }));
  const poller = await Poller.open(own);
  const [{ pid }] = sessions(own);
  const { answer } = await beginPoll(poller);
  process.kill(pid, 'SIGSTOP');
  // It looks every window and a half, and has to find the poll too old.
  await delay(3.2 * window);
  process.kill(pid, 'SIGCONT');
  assert.equal((await answer).json.status, 204);
  assert.notEqual((await poller.poll()).status, 410);
});

for (const [key, limit, attack] of [
  ['event_rate', 10, (n) => heartbeat(String(n))],
  ['join_rate', 3, (n) => [`${n}`, `${n}`, `test:${n}`, 'phx_join', {}]],
])
  test(`more than ${key} ends the session`, async (t) => {
    const own = await start(t, options({ ...lasting, [key]: limit }));
    const poller = await Poller.open(own);
    assert.notEqual(await poller.send(...Array.from({ length: 60 }, (_, i) => attack(i))), 200);
    await own.log(new RegExp(`closed: more than ${limit} in a second \\(${key}\\)`));
    assert.equal((await poller.poll()).status, 410);
  });

test('a session that joins nothing in unjoined_timeout ends', async (t) => {
  const own = await start(t, options({ ...lasting, unjoined_timeout: '3s' }));
  const [idle, busy] = await Promise.all([Poller.open(own), Poller.open(own)]);
  await busy.join('test:a');
  assert.equal((await idle.poll()).status, 204);
  await own.log(/closed: nothing was joined in 3000 ms \(unjoined_timeout\)/);
  assert.equal(await idle.send(heartbeat('1')), 410);
  assert.equal(await busy.send(heartbeat('1')), 200);
});

// ---- others ----

test('a session that hangs costs its own client pubsub_timeout, and nobody else anything', async (t) => {
  const own = await start(t, options({ ...lasting, pubsub_timeout: '3s' }));
  const [poller, other] = await Promise.all([Poller.open(own), Poller.open(own)]);
  const pid = await sessionOf(poller);
  process.kill(pid, 'SIGSTOP');
  const hung = poller.request('POST', { body: JSON.stringify(heartbeat('1')), headers: { 'Content-Type': LINES } });
  assert.equal(await other.send(heartbeat('1')), 200);
  assert.deepEqual(await other.take(1), [beaten('1')]);
  const { json, ms } = await hung;
  assert.deepEqual(json, { status: 410 });
  assert.ok(ms >= 2990, `${ms} ms`);
  const again = await poller.poll();
  assert.equal(again.status, 410);
  assert.equal(await Object.assign(poller, { token: again.token }).send(heartbeat('2')), 200);
  process.kill(pid, 'SIGKILL');
});

test('max_connections and those of an address count sessions', async (t) => {
  for (const limits of [{ max_connections: 4 }, { max_connections_per_address: 4 }]) {
    const own = await start(t, options(lasting, { server: limits }));
    const pollers = [];
    // Who is dead counts until the supervisor has looked.
    const transports = () => inSession(own.pid).filter((p) => p.comm === 'transport');
    const only = (n) => until(() => transports().length === n, 'the requests’ ends');
    for (let i = 0; i < 3; i++) {
      pollers.push(await Poller.open(own));
      await only(i + 1);
    }
    assert.deepEqual((await request(own, 'GET', { query: { vsn: '2.0.0' } })).json, { status: 500 });
    await own.log(/connection refused: max_connections(_per_address)? are there/);
    await only(3);
    assert.equal(await pollers[0].send(heartbeat('1')), 200, 'what is there is served');
    const [{ pid }] = sessions(own);
    process.kill(pid, 'SIGKILL');
    await only(2);
    await until(() => sockets(own).length === 2, 'room');
    await Poller.open(own);
  }
});

test('a hundred sessions in a second over one connection, and no more', { skip: asan }, async (t) => {
  const own = await start(t, options(lasting));
  const wire = await Wire.open(own.port);
  t.after(() => wire.close());
  const refused = own.log(/more than 100 long-poll sessions in a second over one connection: refused/);
  let met = false;
  refused.then(() => { met = true; }, () => {});
  const statuses = new Set();
  for (let i = 0; i < 900 && !met; i += 100) {
    await wire.write(head('/socket/longpoll?vsn=2.0.0').repeat(100));
    for (let k = 0; k < 100; k++) statuses.add(JSON.parse((await wire.response()).body).status);
  }
  if (!met) {
    t.skip('this machine makes fewer in a second');
    return;
  }
  assert.deepEqual([...statuses].sort(), [410, 500]);
  await Poller.open(own);
});

const MANY = asan ? 40 : 200;

test(`${MANY} sessions at once: each has its own, all hear what is broadcast`, async (t) => {
  const own = await start(t, options(lasting));
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const pollers = await Promise.all(Array.from({ length: MANY }, () => Poller.open(own, { agent })));
  const channels = await Promise.all(pollers.map((poller) => poller.join('test:all')));
  const echoes = await Promise.all(pollers.map((poller, i) => poller.call(channels[i], 'echo', { i })));
  assert.deepEqual(echoes, Array.from({ length: MANY }, (_, i) => ({ i })));
  const waiting = pollers.slice(1).map((poller) => poller.take(3));
  await pollers[0].send([channels[0].joinRef, 'b', 'test:all', 'broadcast', { n: 3 }]);
  for (const news of await Promise.all(waiting)) assert.deepEqual(news.map((m) => m[4].i), [0, 1, 2]);
  assert.equal(sockets(own).length, MANY);
  assert.equal(sessions(own).length, MANY);
});
