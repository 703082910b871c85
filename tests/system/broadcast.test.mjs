// POST /bennu/broadcast: broadcasts from outside, over HTTP.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { Client } from './lib/client.mjs';
import { Server, start, temporary } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import { head, upgradeHead, Wire } from './lib/wire.mjs';

const TOKEN = 'k2~Zp.T9-hE_5s0/qW+1==';
const JSON_TYPE = { 'Content-Type': 'application/json' };

// A directory with the token in a file.
function withToken(token = TOKEN, mode = 0o600) {
  const directory = temporary();
  fs.writeFileSync(path.join(directory, 'broadcast.token'), token, { mode });
  return directory;
}

async function startWith(t, { endpoint, ...options } = {}) {
  const server = await start(t, {
    directory: withToken(`${TOKEN}\n`),
    endpoint: { broadcast_token_file: 'broadcast.token', ...endpoint },
    ...options,
  });
  server.ownsDirectory = true;
  return server;
}

const server = await startWith({ after }, {
  server: { body_max: 100_000, journal_size: '64k' },
  endpoint: { module: 'endpoint.so:plain' },
});

async function post(to, body, { token = TOKEN, headers = JSON_TYPE, method = 'POST' } = {}) {
  const response = await fetch(`http://127.0.0.1:${to.port}/bennu/broadcast`, {
    method,
    headers: { ...headers, ...(token === null ? {} : { Authorization: token.includes(' ') ? token : `Bearer ${token}` }) },
    body: method === 'GET' ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  assert.equal(response.headers.get('content-type'), 'application/json; charset=utf-8');
  return { status: response.status, headers: response.headers, body: JSON.parse(text) };
}

async function member(t, to, topic) {
  const client = await to.connect();
  t.after(() => client.close());
  return client.join(topic);
}

const hello = { topic: 'test:a', event: 'hello', payload: {} };

test('all who are on the topic get it, on all workers, and nobody else', async (t) => {
  const members = [];
  for (let i = 0; i < 4; i++) members.push(await member(t, server, 'test:a'));
  const other = await member(t, server, 'test:b');
  const payload = { text: 'hé "\u0000', n: 12345678901234567000, list: [1, { a: null }], empty: {} };
  const answer = await post(server, { topic: 'test:a', event: 'hello', payload });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.body, { accepted: true });
  assert.equal(answer.headers.get('connection'), 'close');
  for (const { client } of members)
    assert.deepEqual((await client.event('test:a', 'hello')).slice(0, 2), [null, null]);
  await other.client.heartbeat();
  assert.equal(other.client.frames.some((frame) => frame[3] === 'hello'), false);
});

test('the payload stays the text that it was, without white space', async (t) => {
  const { client } = await member(t, server, 'test:text');
  const raw = new Promise((resolve) => client.socket.on('message', (data) => {
    if (data.includes('"exact"')) resolve(data.toString());
  }));
  await post(server, ' { "event" : "exact",\n"payload" : [ 1.50 , 1e2, "\\u00e9" ] , "topic":"test\\u003atext"} ');
  assert.equal(await raw, '[null,null,"test:text","exact",[1.50,1e2,"\\u00e9"]]');
});

test('who is answered may cause the next one, and their order stays', async (t) => {
  const { client } = await member(t, server, 'test:order');
  for (let i = 0; i < 20; i++)
    assert.equal((await post(server, { topic: 'test:order', event: 'n', payload: { i } })).status, 200);
  for (let i = 0; i < 20; i++)
    assert.deepEqual((await client.event('test:order', 'n'))[4], { i });
});

test('disconnect on a socket id closes its connections', async (t) => {
  const own = await startWith(t, { socket: { module: 'connect.so:user_socket' } });
  const open = async (id) => {
    const client = await Client.open(`${own.url()}&id=${id}`);
    t.after(() => client.close());
    await client.join('test:a');
    return client;
  };
  const [mine, other] = [await open('users:7'), await open('users:8')];
  assert.equal((await post(own, { topic: 'users:7', event: 'disconnect', payload: {} })).status, 200);
  assert.equal((await mine.end()).code, 1001);
  await other.heartbeat();
});

for (const [what, status, body, options] of [
  ['no token', 401, hello, { token: null }],
  ['another scheme', 401, hello, { token: 'Basic abcdefghijklmnop' }],
  ['a wrong token', 403, hello, { token: `${TOKEN.slice(0, -1)}.` }],
  ['a part of the token', 403, hello, { token: TOKEN.slice(0, -1) }],
  ['more than the token', 403, hello, { token: `${TOKEN}=` }],
  ['an empty token', 403, hello, { token: 'Bearer ;' }],
  ['another type', 415, hello, { headers: { 'Content-Type': 'text/plain' } }],
  ['a GET', 405, '', { method: 'GET' }],
  ['a PUT', 405, hello, { method: 'PUT' }],
  ['no JSON', 400, '{"topic":'],
  ['nothing', 400, ''],
  ['two values', 400, '{} {}'],
  ['an array', 422, []],
  ['an empty object', 422, {}],
  ['no topic', 422, { event: 'e', payload: {} }],
  ['an empty topic', 422, { ...hello, topic: '' }],
  ['a topic that is a number', 422, { ...hello, topic: 1 }],
  ['no event', 422, { topic: 'test:a', payload: {} }],
  ['an event that is null', 422, { ...hello, event: null }],
  ['no payload', 422, { topic: 'test:a', event: 'e' }],
  ['another key', 422, { ...hello, except: 1 }],
  ['a key twice', 422, '{"topic":"test:a","event":"e","payload":{},"topic":"test:b"}'],
  ['a key with an escape', 422, '{"t\\u006fpic":"test:a","event":"e","payload":{}}'],
  ['more than a quarter of the journal', 413, { ...hello, payload: 'x'.repeat(20_000) }],
])
  test(`refused: ${what}`, async (t) => {
    const { client } = await member(t, server, 'test:a');
    const answer = await post(server, body, options);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.equal(typeof answer.body.error, 'string');
    if (status === 401) assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    if (status === 405) assert.equal(answer.headers.get('allow'), 'POST');
    assert.equal((await post(server, { ...hello, event: 'last' })).status, 200);
    await client.event('test:a', 'last');
    assert.deepEqual(client.frames.map((frame) => frame[3]), ['phx_reply', 'last']);
  });

test('a body beyond body_max is refused before it is read', async () => {
  const response = await fetch(`http://127.0.0.1:${server.port}/bennu/broadcast`, {
    method: 'POST',
    headers: { ...JSON_TYPE, Authorization: `Bearer ${TOKEN}` },
    body: 'x'.repeat(100_001),
  });
  assert.equal(response.status, 413);
});

test('without a token file there is no such route', async (t) => {
  const off = await start(t);
  const response = await fetch(`http://127.0.0.1:${off.port}/bennu/broadcast`, {
    method: 'POST', headers: { ...JSON_TYPE, Authorization: 'Bearer ' }, body: JSON.stringify(hello),
  });
  assert.equal(response.status, 404);
});

for (const [what, next] of [
  ['a request of an endpoint', head('/about')],
  ['a socket', upgradeHead()],
])
  test(`nothing is forked behind a token: ${what}`, async (t) => {
    const wire = await Wire.open(server.port);
    t.after(() => wire.close());
    const body = JSON.stringify(hello);
    await wire.write(head('/bennu/broadcast', {
      ...JSON_TYPE, Authorization: `Bearer ${TOKEN}`, 'Content-Length': body.length,
    }, 'POST') + body + next);
    assert.equal((await wire.response()).status, 200);
    assert.equal((await wire.untilEnd()).length, 0);
  });

// ---- pubsub is away ----

// Until so many transports have come to its only pubsub worker.
const reached = (to, n) => until(() => {
  const lines = fs.readFileSync('/proc/net/unix', 'latin1').split('\n');
  return lines.filter((line) => line.endsWith(`${to.run}/pubsub-1.sock`)).length === 1 + n; // and the listener
}, `${n} transports at pubsub`);

test('the answer waits until pubsub has accepted it', async (t) => {
  const own = await startWith(t, { pubsub: 1 });
  const { client } = await member(t, own, 'test:a');
  const [{ pid }] = own.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  let answered = false;
  const answer = post(own, hello).finally(() => { answered = true; });
  await reached(own, 2);
  await client.heartbeat();
  assert.equal(answered, false);
  process.kill(pid, 'SIGKILL'); // the next one accepts it
  assert.equal((await answer).status, 200);
  await client.event('test:a', 'hello');
  await client.heartbeat();
  assert.equal(client.frames.filter((frame) => frame[3] === 'hello').length, 1);
});

test('it is told when pubsub takes too long; the broadcast still comes', async (t) => {
  const own = await startWith(t, { pubsub: 1 });
  const { client } = await member(t, own, 'test:a');
  const [{ pid }] = own.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  const answer = await post(own, hello);
  assert.equal(answer.status, 504);
  process.kill(pid, 'SIGCONT');
  await client.event('test:a', 'hello');
});

test('a server that stops answers first', async (t) => {
  const own = await startWith(t, { pubsub: 1 });
  const [{ pid }] = own.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  const answer = post(own, hello);
  await reached(own, 1);
  process.kill(own.workers('transport')[0].pid, 'SIGTERM');
  process.kill(pid, 'SIGCONT');
  assert.equal((await answer).status, 200);
});

// ---- the token ----

for (const [what, token, why] of [
  ['too short', 'fifteen-letters', /15 characters can be guessed/],
  ['of two lines', 'sixteen-letters-and\nmore-of-them', /one line of visible/],
  ['with a blank', 'sixteen letters and', /one line of visible/],
  ['empty', '', /0 characters can be guessed/],
  ['too long', 'x'.repeat(1001), /1000 characters at most/],
])
  test(`a token that is ${what} is refused at the start`, async () => {
    const bad = new Server({
      directory: withToken(token), endpoint: { broadcast_token_file: 'broadcast.token' },
    });
    bad.ownsDirectory = true;
    await bad.ends(11);
    assert.match(bad.logText, why);
    assert.match(bad.logText, /endpoint\.broadcast_token_file \//);
  });

test('a token file that is not there is refused at the start', async () => {
  const bad = new Server({ endpoint: { broadcast_token_file: 'nowhere' } });
  await bad.ends(11);
  assert.match(bad.logText, /nowhere: No such file or directory/);
});

test('a token that everybody may read is warned about', async (t) => {
  const open = await start(t, {
    directory: withToken(TOKEN, 0o644), endpoint: { broadcast_token_file: 'broadcast.token' },
  });
  open.ownsDirectory = true;
  assert.match(open.logText, /everybody may read this token/);
});

// ---- one behind the other, over several workers ----

// Each is published when the one before it was accepted, by another worker.
test('what was accepted before something else was sent comes before it', async (t) => {
  const on = await startWith(t, { pubsub: 3 });
  const client = await on.connect();
  t.after(() => client.socket.terminate());
  await client.join('test:a');
  // A connection's worker follows from its number, and numbers rise by one.
  const [{ title }] = on.workers('transport');
  const first = Number(/#(\d+)/.exec(title)[1]);
  let last = first;
  const ask = async (request) => {
    const wire = await Wire.open(on.port);
    last += 1;
    await wire.write(request);
    const { status } = await wire.response();
    wire.close();
    return status;
  };
  const publish = async (i) => {
    // Not that of the subscriber.
    if ((last + 1) % 3 === first % 3) assert.equal(await ask(head('/nothing')), 404);
    const body = JSON.stringify({ topic: 'test:a', event: 'n', payload: { i } });
    const headers = { ...JSON_TYPE, Authorization: `Bearer ${TOKEN}`, 'Content-Length': body.length };
    assert.equal(await ask(head('/bennu/broadcast', headers, 'POST') + body), 200);
  };
  const stopped = on.workers('pubsub').find((p) => p.title.endsWith(`pubsub ${(first % 3) + 1}`));
  const N = 40;
  for (const from of [0, N]) {
    // What all have published lies there when it is looked at.
    process.kill(stopped.pid, 'SIGSTOP');
    for (let i = from; i < from + N; i++) await publish(i);
    process.kill(stopped.pid, 'SIGCONT');
    const got = [];
    for (let i = 0; i < N; i++) got.push((await client.event('test:a', 'n'))[4].i);
    assert.deepEqual(got, Array.from({ length: N }, (_, i) => from + i));
  }
});
