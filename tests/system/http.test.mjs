// HTTP: the files of the page, the rules of requests, the tree and its kills.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { gone } from './lib/procs.mjs';
import { start, temporary } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import { head, upgradeHead, Wire } from './lib/wire.mjs';

const pages = temporary();
after(() => fs.rmSync(pages, { recursive: true }));
fs.writeFileSync(path.join(pages, 'secret.txt'), 'secret');
const root = path.join(pages, 'static');
fs.mkdirSync(path.join(root, 'assets'), { recursive: true });
fs.mkdirSync(path.join(root, 'sub'));
const INDEX = '<!doctype html><title>page</title>';
const BIG = Buffer.alloc(3_000_000, 'Bennu ');
fs.writeFileSync(path.join(root, 'index.html'), INDEX);
fs.writeFileSync(path.join(root, 'sub/index.html'), 'sub');
fs.writeFileSync(path.join(root, 'assets/app.js'), 'js');
fs.writeFileSync(path.join(root, 'big.bin'), BIG);
fs.writeFileSync(path.join(root, 'empty.txt'), '');
fs.writeFileSync(path.join(root, '.hidden'), 'secret');
fs.symlinkSync(path.join(pages, 'secret.txt'), path.join(root, 'link.txt'));
fs.symlinkSync('/etc', path.join(root, 'etc'));

const server = await start({ after }, {
  server: { head_max: '4k', headers_max: 20, body_max: '10k' },
  endpoint: { static: root, tree: 'true' },
  channels: { 'test:*': { intensity: 100 } },
});
const bare = await start({ after }, {});
const hasty = await start({ after }, { server: { head_timeout: '1s' } });

const wire = async (t, to = server) => {
  const w = await Wire.open(to.port);
  t.after(() => w.close());
  return w;
};

// One request on a connection of its own.
async function get(t, text, options) {
  return (await wire(t)).request(text, options);
}

// ---- files ----

test('the page, its type, its tag', async (t) => {
  const response = await get(t, head('/'));
  assert.equal(response.status, 200);
  assert.equal(response.body, INDEX);
  assert.equal(response.headers['content-type'], 'text/html; charset=utf-8');
  assert.equal(response.headers['cache-control'], 'no-cache');
  const etag = response.headers.etag;
  for (const tags of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
    const again = await get(t, head('/', { 'If-None-Match': tags }));
    assert.deepEqual([again.status, again.body, again.headers.etag], [304, '', etag]);
  }
  assert.equal((await get(t, head('/', { 'If-None-Match': '"other"' }))).status, 200);
});

test('a file that changes has another tag', async (t) => {
  const file = path.join(root, 'changes.txt');
  fs.writeFileSync(file, 'one');
  const { etag } = (await get(t, head('/changes.txt'))).headers;
  fs.writeFileSync(file, 'other');
  const response = await get(t, head('/changes.txt', { 'If-None-Match': etag }));
  assert.deepEqual([response.status, response.body], [200, 'other']);
});

test('files, directories, assets', async (t) => {
  assert.equal((await get(t, head('/sub/'))).body, 'sub');
  const asset = await get(t, head('/assets/app.js?v=1'));
  assert.match(asset.headers['cache-control'], /immutable/);
  assert.equal(asset.headers['content-type'], 'text/javascript; charset=utf-8');
  const empty = await get(t, head('/empty.txt'));
  assert.deepEqual([empty.status, empty.body], [200, '']);
});

test('a file of 3 MB, to several at once', async (t) => {
  const bodies = await Promise.all(
    [1, 2, 3, 4].map(async () => {
      const w = await wire(t);
      await w.write(head('/big.bin'));
      await w.takeUntil('\r\n\r\n');
      return w.take(BIG.length);
    }),
  );
  for (const body of bodies) assert.ok(body.equals(BIG));
});

test('HEAD has the same head and no body', async (t) => {
  const w = await wire(t);
  const response = await w.request(head('/', {}, 'HEAD'), { head: true });
  assert.equal(response.status, 200);
  assert.equal(response.headers['content-length'], String(INDEX.length));
  assert.equal((await w.request(head('/'))).body, INDEX);
});

for (const target of [
  '/none', '/sub', '/assets/', '/index.html/', '/.hidden', '/link.txt', '/etc/passwd',
  '/../secret.txt', '/sub/../../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt',
  '/%2e%2e%2fsecret.txt', '/sub/..%5c..%5csecret.txt', '//etc/passwd', '/./index.html',
  '/\\..\\secret.txt', '/%252e%252e/secret.txt', '/../../../../../../../../etc/passwd',
  '/index.html%00.txt', '/%00', '/%zz', '/%', '/%c0%ae%c0%ae/secret.txt',
])
  test(`${target} is not there`, async (t) => {
    const { status, body } = await get(t, head(target));
    assert.ok([400, 404].includes(status), `${status}`);
    assert.doesNotMatch(body, /secret|root:/);
  });

test('methods that files do not have', async (t) => {
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const response = await get(t, head('/', { 'Content-Length': '0' }, method));
    assert.deepEqual([response.status, response.headers.allow], [405, 'GET, HEAD']);
  }
});

test('without pages every path is 404', async (t) => {
  for (const target of ['/', '/bennu/tree', '/bennu/kill', '/index.html'])
    assert.equal((await (await wire(t, bare)).request(head(target))).status, 404);
});

// ---- connections ----

test('keep-alive: many requests on one connection', async (t) => {
  const w = await wire(t);
  for (let i = 0; i < 20; i++) assert.equal((await w.request(head(i % 2 ? '/' : '/none'))).status, i % 2 ? 200 : 404);
  const last = await w.request(head('/', { Connection: 'close' }));
  assert.equal(last.headers.connection, 'close');
  assert.equal((await w.untilEnd()).length, 0);
});

test('pipelined requests are answered in order', async (t) => {
  const w = await wire(t);
  const targets = ['/', '/sub/', '/none', '/assets/app.js', '/big.bin', '/'];
  await w.write(targets.map((target) => head(target)).join('') + upgradeHead());
  assert.equal((await w.response()).body, INDEX);
  assert.equal((await w.response()).body, 'sub');
  assert.equal((await w.response()).status, 404);
  assert.equal((await w.response()).body, 'js');
  assert.equal((await w.response()).body.length, BIG.length);
  assert.equal((await w.response()).body, INDEX);
  assert.equal((await w.response()).status, 101);
});

test('a request byte by byte', async (t) => {
  const w = await wire(t);
  for (const byte of head('/')) await w.write(byte);
  assert.equal((await w.response()).body, INDEX);
});

test('HTTP/1.0 closes, unless it asks otherwise', async (t) => {
  const w = await wire(t);
  await w.write('GET / HTTP/1.0\r\n\r\n');
  assert.equal((await w.response()).body, INDEX);
  await w.untilEnd();
  const kept = await wire(t);
  await kept.write('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
  assert.equal((await kept.response()).body, INDEX);
  assert.equal((await kept.request(head('/'))).body, INDEX);
});

test('a body is read, and the next request behind it', async (t) => {
  const w = await wire(t);
  await w.write(`${head('/none', { 'Content-Length': '5000' }, 'POST')}${'x'.repeat(5000)}`);
  assert.equal((await w.response()).status, 405);
  await w.write(`${head('/none', { 'Transfer-Encoding': 'chunked' }, 'POST')}5\r\nhello\r\n0\r\n\r\n`);
  assert.equal((await w.response()).status, 405);
  assert.equal((await w.request(head('/'))).status, 200);
});

test('100-continue', async (t) => {
  const w = await wire(t);
  await w.write(head('/', { 'Content-Length': '2', Expect: '100-continue' }, 'POST'));
  assert.equal((await w.takeUntil('\r\n\r\n')).toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
  await w.write('ab');
  assert.equal((await w.response()).status, 405);
});

for (const [name, text, status] of [
  ['no request at all', 'hello\r\n\r\n', 400],
  ['binary', '\x16\x03\x01\x02\x00\r\n\r\n', 400],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
  ['a bare LF', 'GET / HTTP/1.1\nHost: a\n\n', 400],
  ['a folded field', 'GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n', 400],
  ['a space before the colon', 'GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400],
  ['two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx', 400],
  ['length and chunks', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  ['a negative length', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n', 400],
  ['an extension of a chunk', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n', 400],
  ['chunks in HTTP/1.0', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
  ['another coding', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n', 501],
  ['a bad chunk', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400],
  ['HTTP/2.0', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505],
  ['a method that nobody knows', 'FOO / HTTP/1.1\r\nHost: a\r\n\r\n', 501],
  ['CONNECT', 'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n', 501],
  ['too long a target', `GET /${'x'.repeat(5000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
  ['too long a field', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(5000)}\r\n\r\n`, 431],
  ['too many fields', `GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(20)}\r\n`, 431],
  ['too large a body', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10001\r\n\r\n', 413],
  ['chunks that are too large', `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2711\r\n${'x'.repeat(10_001)}\r\n0\r\n\r\n`, 413],
])
  test(`${name}: ${status}, and the end`, async (t) => {
    const w = await wire(t);
    await w.write(Buffer.from(text, 'latin1'));
    const response = await w.response();
    assert.equal(response.status, status);
    assert.equal(response.headers.connection, 'close');
    await w.untilEnd();
  });

test('the head of a request may take head_timeout, however it drips', async (t) => {
  const began = performance.now();
  const w = await wire(t, hasty);
  await w.write('GET / HTTP/1.1\r\n');
  const drip = setInterval(() => w.write('X: y\r\n'), 200);
  t.after(() => clearInterval(drip));
  assert.equal((await w.response()).status, 408);
  assert.ok(performance.now() - began >= 1000);
  await w.untilEnd();
});

test('a body that does not come is 408', async (t) => {
  const w = await wire(t, hasty);
  await w.write(head('/', { 'Content-Length': '10' }, 'POST'));
  assert.equal((await w.response()).status, 408);
});

test('between two requests head_timeout ends the connection without a word', async (t) => {
  const w = await wire(t, hasty);
  await w.request(head('/'));
  assert.equal((await w.untilEnd()).length, 0);
});

test('who reads a file slowly but steadily gets all of it', async (t) => {
  const w = await wire(t);
  w.socket.pause();
  await w.write(head('/big.bin', { Connection: 'close' }));
  let size = 0;
  for await (const chunk of w.socket) size += chunk.length;
  assert.ok(size > BIG.length);
});

// ---- the tree ----

const TREE = '/bennu/tree';
const KILL = '/bennu/kill';
const own = () => `127.0.0.1:${server.port}`;

async function tree(t) {
  const response = await get(t, head(TREE));
  assert.equal(response.status, 200);
  return JSON.parse(response.body);
}

// The node of an id, wherever it is.
function find(node, id) {
  if (node.id === id) return node;
  for (const child of node.children ?? []) {
    const found = find(child, id);
    if (found) return found;
  }
  return null;
}

const all = (node) => [node, ...(node.children ?? []).flatMap(all)];

function kill(t, id, headers = {}, { method = 'POST', body = JSON.stringify({ id }) } = {}) {
  return get(
    t,
    head(
      KILL,
      {
        Host: own(),
        'X-Bennu-Token': server.token,
        'Content-Type': 'application/json',
        'Content-Length': String(Buffer.byteLength(body)),
        ...headers,
      },
      method,
    ) + body,
  );
}

// The kernel's list of children, which the tree is made of, may leave out one
// while another ends: nobody of former tests is to end any more.
const quiet = () => server.settles({});

// A client with a channel, and the ids of both.
async function victim(t, topic) {
  const client = await server.connect();
  t.after(() => client.close());
  const channel = await client.join(topic);
  const { channel: pid, transport } = await channel.pids();
  const nodes = all((await tree(t)).supervisor);
  return {
    client,
    channel,
    pid,
    transport,
    channelId: nodes.find((node) => node.pid === pid).id,
    transportId: nodes.find((node) => node.pid === transport).id,
  };
}

test('the tree shows the processes as they are', async (t) => {
  await quiet();
  const { channel, pid, transport, channelId } = await victim(t, 'test:"quoted" restarts=7');
  await channel.call('do', { do: 'kill' });
  const { pid: second } = await channel.about();
  assert.notEqual(second, pid);
  const { supervisor, more } = await tree(t);
  assert.equal(more, 0);
  assert.deepEqual([supervisor.pid, supervisor.role], [server.pid, 'supervisor']);
  assert.equal(find(supervisor, 'pubsub/1').role, 'pubsub');
  const node = find(supervisor, channelId);
  assert.deepEqual(
    [node.role, node.pid, node.restarts, node.title],
    ['channel', second, 1, 'test:"quoted" restarts=7'],
  );
  assert.ok(all(supervisor).find((n) => n.pid === transport).children.includes(node));
});

test('the tree is for GET and HEAD', async (t) => {
  assert.equal((await get(t, head(TREE, {}, 'HEAD'), { head: true })).status, 200);
  assert.equal((await get(t, head(TREE, { 'Content-Length': '0' }, 'POST'))).status, 405);
});

// A page whose name somebody's DNS points here is of the same origin as its answers.
test('what shows or kills processes answers to names of this machine only', async (t) => {
  const json = { 'X-Bennu-Token': server.token, 'Content-Type': 'application/json', 'Content-Length': '2' };
  const routes = [
    [TREE, 'GET', {}, '', 200],
    [TREE, 'HEAD', {}, '', 200],
    ['/bennu/metrics', 'GET', {}, '', 200],
    ['/bennu/inspect', 'POST', json, '{}', 400],
    [KILL, 'POST', json, '{}', 400],
  ];
  for (const [path, method, headers, body, status] of routes) {
    const ask = (Host) => get(t, head(path, { ...headers, Host }, method) + body, { head: method === 'HEAD' });
    for (const name of ['127.0.0.1', 'localhost', 'LocalHost', '[::1]'])
      for (const host of [name, `${name}:${server.port}`, `${name}:1`])
        assert.equal((await ask(host)).status, status, `${method} ${path} of ${host}`);
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', 'localhosts', '127.0.0.2', '::1', '']) {
      const answer = await ask(host);
      assert.equal(answer.status, 403, `${method} ${path} of ${host}`);
      if (method !== 'HEAD') assert.match(JSON.parse(answer.body).error, /^Host must be localhost,/);
    }
  }
});

test('a kill without every one of its guards is refused', async (t) => {
  await quiet();
  const { client, channel, pid, channelId, transportId } = await victim(t, 'test:guarded');
  for (const [status, headers, options] of [
    [403, { 'X-Bennu-Token': null }],
    [403, { 'X-Bennu-Token': '' }],
    [403, { 'X-Bennu-Token': server.token.slice(1) }],
    [403, { 'X-Bennu-Token': `${server.token}0` }],
    [403, { 'X-Bennu-Token': '0'.repeat(server.token.length) }],
    [403, { Host: 'evil.example' }],
    [403, { Host: `localhost.evil.example:${server.port}` }],
    [403, { Host: `127.0.0.1.evil.example` }],
    [403, { Origin: 'http://evil.example' }],
    [403, { Origin: 'null' }],
    [403, { Origin: `https://${own()}` }],
    [403, { Origin: `http://127.0.0.1:${server.port + 1}` }],
    [415, { 'Content-Type': null }],
    [415, { 'Content-Type': 'text/plain' }],
    [415, { 'Content-Type': 'application/x-www-form-urlencoded' }],
    [415, { 'Content-Type': 'application/jsonp' }],
    [405, {}, { method: 'GET', body: '' }],
    [405, {}, { method: 'PUT' }],
    [400, {}, { body: '' }],
    [400, {}, { body: '{"id":' }],
    [400, {}, { body: '[]' }],
    [400, {}, { body: '{"id":17}' }],
  ]) {
    const response = await kill(t, channelId, headers, options);
    assert.equal(response.status, status, JSON.stringify([headers, options]));
    assert.equal(typeof JSON.parse(response.body).error, 'string');
  }
  for (const id of ['', 'supervisor', 'channel', 'channel/1', 'channel/1/2/3', `${channelId}x`, 'pubsub/-1', '../1'])
    assert.ok([400, 404].includes((await kill(t, id)).status), id);
  for (const id of ['channel/999999/1', 'transport/999999', 'pubsub/9', `${transportId}9`])
    assert.equal((await kill(t, id)).status, 404, id);
  await client.heartbeat();
  assert.equal((await channel.about()).pid, pid);
});

test('a channel is killed: it is started again, the client notices nothing', async (t) => {
  await quiet();
  const { client, channel, pid, channelId } = await victim(t, 'test:killed');
  client.frames.length = 0;
  const response = await kill(t, channelId, { Origin: `http://${own()}` });
  assert.deepEqual([response.status, response.body], [202, JSON.stringify({ killed: channelId })]);
  await gone(pid);
  assert.equal((await channel.about()).restarts, 1);
  assert.equal(client.frames.length, 1);
  await server.log(/kill -9 of channel #\d+\.\d+, asked for over HTTP/);
  // The id is that of the channel, not of its process.
  const { pid: second } = await channel.about();
  assert.equal((await kill(t, channelId, { Host: `localhost:${server.port}` })).status, 202);
  await gone(second);
  assert.equal((await channel.about()).restarts, 2);
});

test('a transport is killed', async (t) => {
  await quiet();
  const { client, transport, transportId } = await victim(t, 'test:a');
  assert.equal((await kill(t, transportId)).status, 202);
  assert.equal((await client.end()).code, 1006);
  await gone(transport);
  assert.equal((await kill(t, transportId)).status, 404);
});

test('pubsub is killed, and broadcasts work again', async (t) => {
  await quiet();
  const one = await victim(t, 'test:pubsub');
  const other = await victim(t, 'test:pubsub');
  const { pid } = server.workers('pubsub').find((p) => p.title === 'bennu: pubsub 1');
  assert.equal((await kill(t, 'pubsub/1')).status, 202);
  await gone(pid);
  await until(async () => {
    await one.channel.ok('broadcast', { event: 'probe' });
    return other.client.rest().some((f) => f[3] === 'probe');
  }, 'a broadcast');
  // The other worker may have carried it: this one is there again all the same.
  await until(() => server.workers('pubsub').length === 2, 'two workers');
  assert.ok(server.workers('pubsub').every((worker) => worker.pid !== pid));
});

test('the transport that serves the kill may kill itself', async (t) => {
  await quiet();
  const w = await wire(t);
  await w.request(head('/'));
  const { localPort } = w.socket;
  const node = all((await tree(t)).supervisor).find((n) => n.title.includes(`:${localPort}`));
  const body = JSON.stringify({ id: node.id });
  await w.write(
    head(KILL, {
      Host: own(),
      'X-Bennu-Token': server.token,
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': String(body.length),
    }, 'POST') + body,
  );
  await w.untilEnd();
  await gone(node.pid);
});

test('the token lies in a file that only this user reads', () => {
  const file = path.join(server.run, 'token');
  assert.equal(fs.readFileSync(file, 'utf8'), server.token);
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  assert.match(server.token, /^[0-9a-f]{32}$/);
});
