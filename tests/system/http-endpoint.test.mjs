// The application's HTTP handlers: what reaches them, what comes back, and what
// their crashes, hangs and lies cost.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { describe, gone, stopped } from './lib/procs.mjs';
import { Server, start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import { head, upgradeHead, Wire } from './lib/wire.mjs';

const plain = { module: 'endpoint.so:plain', options: { word: 'option' } };
const server = await start({ after }, { endpoint: plain });

const open = async (t, on = server) => {
  const wire = await Wire.open(on.port);
  t.after(() => wire.close());
  return wire;
};
const get = (wire, path, headers, method) =>
  wire.request(head(path, headers, method), { head: method === 'HEAD' });
const post = (wire, path, body, headers = {}, method = 'POST') =>
  wire.request(
    head(
      path,
      {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
        ...headers,
      },
      method,
    ) + body,
  );
const json = ({ body }) => JSON.parse(body);
const about = async (wire, path = '/about') => json(await get(wire, path));
const error = (detail) => ({ errors: { detail } });
const endpointOf = async (wire) => (await about(wire)).pid;

// ---- requests ----

test('a handler sees method, path, parameters, query, headers and peer', async (t) => {
  const wire = await open(t);
  const answer = await get(wire, '/about/a%20b%2Fc?q=%C3%A4+1&a[]=1&a[]=2', { 'x-test': 'yes' });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8');
  assert.equal(answer.headers.connection, 'keep-alive');
  const { pid, transport, peer, ...rest } = json(answer);
  assert.deepEqual(rest, {
    method: 'GET',
    path: '/about/a%20b%2Fc',
    id: 'a b/c',
    other: null,
    q: 'ä 1',
    x: 'yes',
    option: 'option',
    query: { q: 'ä 1', a: ['1', '2'] },
    size: 0,
  });
  assert.match(peer, /^127\.0\.0\.1:\d+$/);
  const process = describe(pid);
  assert.equal(process.ppid, transport);
  assert.equal(process.comm, 'endpoint');
  // It says so behind its answer.
  const title = () => describe(pid).title;
  await until(() => /^bennu: endpoint #\d+ idle$/.test(title()), title);
});

test('the first route that fits is taken, slashes do not count', async (t) => {
  const wire = await open(t);
  assert.equal((await get(wire, '/about/name')).body, 'name');
  assert.equal((await about(wire, '//about//7/')).id, '7');
  assert.deepEqual(
    await about(wire, '/about/1/and/2').then(({ id, other }) => [id, other]),
    ['1', '2'],
  );
  assert.equal((await get(wire, '/%61bout/1')).status, 200);
});

test('one process serves a connection, another one the next', async (t) => {
  const [a, b] = [await open(t), await open(t)];
  assert.equal((await get(a, '/count')).body, '1');
  assert.equal((await get(a, '/count')).body, '2');
  assert.equal((await get(b, '/count')).body, '1');
  assert.equal(await endpointOf(a), await endpointOf(a));
  assert.notEqual(await endpointOf(a), await endpointOf(b));
});

test('a path that no route has costs no process', async (t) => {
  const wire = await open(t);
  assert.equal((await get(wire, '/nowhere')).status, 404);
  assert.equal((await get(wire, '/about/1/and')).status, 404);
  assert.equal((await get(wire, '/')).status, 404);
  assert.equal((await get(wire, '/about', {}, 'PUT')).status, 405);
  assert.equal((await get(wire, '/about', {}, 'OPTIONS')).status, 204);
  // Those of former tests may still be ending.
  const port = `:${wire.socket.localPort}`;
  const { pid } = server.workers('transport').find((p) => p.title.endsWith(port));
  assert.deepEqual(server.below(pid), []);
});

test('another method is 405 and says which there are', async (t) => {
  const wire = await open(t);
  const answer = await get(wire, '/about/1', {}, 'PUT');
  assert.equal(answer.status, 405);
  assert.equal(answer.headers.allow, 'GET, DELETE, HEAD, OPTIONS');
  assert.deepEqual(json(answer), error('Method Not Allowed'));
  assert.equal((await get(wire, '/echo')).headers.allow, 'POST, OPTIONS');
});

test('OPTIONS is answered, unless a route has it', async (t) => {
  const wire = await open(t);
  const answer = await get(wire, '/about', { Origin: 'https://a.example' }, 'OPTIONS');
  assert.equal(answer.status, 204);
  assert.equal(answer.headers.allow, 'GET, POST, HEAD, OPTIONS');
  assert.equal(answer.headers['access-control-allow-origin'], undefined);
  assert.equal((await get(wire, '/mine', {}, 'OPTIONS')).body, 'mine');
});

test('HEAD is GET without its body', async (t) => {
  const wire = await open(t);
  const answer = await get(wire, '/large?n=1000', {}, 'HEAD');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-length'], '1000');
  assert.equal((await get(wire, '/crash', {}, 'HEAD')).status, 500);
  assert.equal((await get(wire, '/echo', {}, 'HEAD')).status, 405);
  assert.equal((await get(wire, '/about/name')).body, 'name');
});

test('what is malformed is 400 and leaves the connection as it is', async (t) => {
  const wire = await open(t);
  for (const path of ['/about/%zz', '/about/%00', '/about/%ff', '/about?q=%zz', '/about?q=%ff'])
    assert.equal((await get(wire, path)).status, 400, path);
  assert.equal((await get(wire, '/about/1')).status, 200);
});

// ---- bodies ----

test('a JSON body: 411, 415, 400, or what was sent', async (t) => {
  const wire = await open(t);
  const answer = await post(wire, '/json', ' {"a": [1, "ü"]} ');
  assert.deepEqual([answer.status, json(answer)], [200, { a: [1, 'ü'] }]);
  const merge = { 'Content-Type': 'application/merge-patch+json; charset=utf-8' };
  assert.equal((await post(wire, '/json', '1', merge)).status, 200);
  for (const type of ['text/plain', 'application/jsonp', null])
    assert.equal((await post(wire, '/json', '{}', { 'Content-Type': type })).status, 415);
  for (const bad of ['', '{', '{} x', "{'a':1}", '\xff', '{"a":1,}'])
    assert.equal((await post(wire, '/json', bad)).status, 400, bad);
  const none = await get(wire, '/json', { 'Content-Type': 'application/json' }, 'POST');
  assert.deepEqual([none.status, json(none)], [411, error('Length Required')]);
  // A handler that wants no body wants no length.
  assert.equal((await get(wire, '/about', {}, 'POST')).status, 200);
});

test('a chunked body comes whole', async (t) => {
  const wire = await open(t);
  const chunked = { 'Transfer-Encoding': 'chunked', 'Content-Length': null };
  await wire.write(head('/json', { 'Content-Type': 'application/json', ...chunked }, 'POST'));
  for (const part of ['[1', ',2', ']'])
    await wire.write(`${part.length.toString(16)}\r\n${part}\r\n`);
  await wire.write('0\r\n\r\n');
  assert.equal((await wire.response()).body, '[1,2]');
});

test('a client that waits for 100 Continue gets it, then one answer', async (t) => {
  const wire = await open(t);
  await wire.write(
    head('/echo', { Expect: '100-continue', 'Content-Length': 4 }, 'POST'),
  );
  assert.equal((await wire.response()).status, 100);
  await wire.write('body');
  assert.equal((await wire.response()).body, 'body');
  assert.equal((await get(wire, '/about/name')).body, 'name');
});

test('5 MB go both ways', async (t) => {
  const wire = await open(t);
  const body = Buffer.alloc(5e6, 'abcdefg').toString();
  const answer = await post(wire, '/echo', body, { 'Content-Type': 'a/b' });
  assert.equal(answer.headers['content-type'], 'a/b');
  assert.ok(answer.body === body);
  const large = await get(wire, '/large?n=5000000');
  assert.equal(large.body.length, 5e6);
  assert.equal((await get(wire, '/about/name')).body, 'name');
});

test('limits and methods that are none end the connection', async (t) => {
  const cases = [
    [413, head('/echo', { 'Content-Length': 9e6 }, 'POST')],
    [431, head('/about', { 'X-Large': 'x'.repeat(20e3) })],
    [414, head(`/about?q=${'x'.repeat(20e3)}`)],
    [501, head('/about', {}, 'FROBNICATE')],
    [400, 'GET /about HTTP/1.1\r\n\r\n'],
  ];
  for (const [status, request] of cases) {
    const wire = await open(t);
    const answer = await wire.request(request);
    assert.deepEqual([answer.status, answer.headers.connection], [status, 'close']);
    await wire.untilEnd();
  }
});

// ---- answers ----

test('status and headers are the handler\'s; 204 and 304 have no body', async (t) => {
  const wire = await open(t);
  const raw = async (status) => {
    await wire.write(head(`/status/${status}`));
    return (await wire.takeUntil('\r\n\r\n')).toString();
  };
  const text = await raw(418);
  assert.match(text, /^HTTP\/1\.1 418 /);
  assert.match(text, /\r\nX-One: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n/);
  assert.equal((await wire.take(4)).toString(), 'body');
  for (const status of [204, 304]) assert.doesNotMatch(await raw(status), /Content-Length/);
  assert.equal((await get(wire, '/about/name')).body, 'name');
});

test('50 requests at once are answered in their order', async (t) => {
  const wire = await open(t);
  await wire.write(Array.from({ length: 50 }, (_, i) => head(`/about/${i}`)).join(''));
  for (let i = 0; i < 50; i++) assert.equal(json(await wire.response()).id, String(i));
});

test('HTTP/1.0 and Connection: close end after the answer', async (t) => {
  const old = await open(t);
  assert.equal((await old.request('GET /about/name HTTP/1.0\r\n\r\n')).body, 'name');
  await old.untilEnd();
  const closing = await open(t);
  assert.equal((await get(closing, '/about/name', { Connection: 'close' })).body, 'name');
  await closing.untilEnd();
});

test('a broadcast of a handler reaches the clients on the topic', async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  await client.join('test:news');
  const wire = await open(t);
  const answer = await post(wire, '/broadcast?topic=test:news', '{"n":1}');
  assert.deepEqual([answer.status, answer.body], [202, '']);
  assert.deepEqual((await client.event('test:news', 'news'))[4], { n: 1 });
});

// Who has an answer may cause the next broadcast over another connection, which
// pubsub does not know yet, or has known for long.
test('broadcasts over many connections come in the order of their answers', async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  await client.join('test:order');
  const old = await open(t);
  for (let n = 0; n < 60; n += 2) {
    const fresh = await open(t);
    assert.equal((await post(fresh, '/broadcast?topic=test:order', `{"n":${n}}`)).status, 202);
    assert.equal((await post(old, '/broadcast?topic=test:order', `{"n":${n + 1}}`)).status, 202);
  }
  for (let n = 0; n < 60; n++)
    assert.deepEqual((await client.event('test:order', 'news'))[4], { n });
});

test('the answer to a broadcast waits until pubsub has it', async (t) => {
  const wire = await open(t);
  const other = await open(t);
  await get(other, '/about/name');
  const workers = server.workers('pubsub').map((p) => p.pid);
  for (const pid of workers) process.kill(pid, 'SIGSTOP');
  await stopped(...workers);
  let answered = false;
  const answer = post(wire, '/broadcast?topic=test:none', '{}').then((a) => {
    answered = true;
    return a;
  });
  try {
    // Ten answers of another handler are time enough for this one.
    for (let i = 0; i < 10; i++) await get(other, '/about/name');
    assert.equal(answered, false);
  } finally {
    for (const pid of workers) process.kill(pid, 'SIGCONT');
  }
  assert.equal((await answer).status, 202);
});

// ---- CORS ----

const preflight = {
  Origin: 'https://b.example',
  'Access-Control-Request-Method': 'DELETE',
  'Access-Control-Request-Headers': 'content-type, x-mine',
};

test('CORS: open to all', async (t) => {
  const all = await start(t, { endpoint: { ...plain, module: 'endpoint.so:open_to_all' } });
  const wire = await open(t, all);
  const { status, headers } = await get(wire, '/about/1', preflight, 'OPTIONS');
  assert.equal(status, 204);
  assert.equal(headers['access-control-allow-origin'], '*');
  assert.equal(headers['access-control-allow-methods'], 'GET, DELETE, HEAD, OPTIONS');
  assert.equal(headers['access-control-allow-headers'], 'content-type, x-mine');
  assert.equal(headers['access-control-max-age'], '600');
  for (const path of ['/about', '/silent', '/crash', '/about/%zz'])
    assert.equal(
      (await get(wire, path, { Origin: 'https://b.example' })).headers['access-control-allow-origin'],
      '*',
      path,
    );
  wire.close();
});

test('CORS: open to some', async (t) => {
  const some = await start(t, { endpoint: { ...plain, module: 'endpoint.so:open_to_some' } });
  const wire = await open(t, some);
  const allowed = await get(wire, '/about/1', preflight, 'OPTIONS');
  assert.equal(allowed.headers['access-control-allow-origin'], 'https://b.example');
  const other = await get(wire, '/about', { Origin: 'https://evil.example' });
  assert.deepEqual(
    [other.status, other.headers['access-control-allow-origin'], other.headers.vary],
    [200, undefined, 'Origin'],
  );
  wire.close();
});

// ---- crashes ----

test('a crash is a 500 and a line in the log, and the next request works', async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  await client.join('test:crash');
  const wire = await open(t);
  const before = await endpointOf(wire);
  const answer = await get(wire, '/crash');
  assert.deepEqual([answer.status, json(answer)], [500, error('Internal Server Error')]);
  assert.equal(answer.headers.connection, 'keep-alive');
  await server.log(/child_terminated: endpoint\[\d+\] temporary: signal 11 .*, GET \/crash$/);
  assert.notEqual(await endpointOf(wire), before);
  await gone(before);
  // Nothing of what the handler had said before it crashed has left.
  await client.heartbeat();
  assert.deepEqual(client.rest(), []);
});

for (const [path, line] of [
  ['/silent', /GET \/silent was not answered/],
  ['/twice', /GET \/twice has its answer/],
  ['/bad_header', /bennu_put_header: X-Bad/],
  ['/no_json', /a payload is no JSON/],
  ['/leave', /endpoint\[\d+\] ended in GET \/leave/],
  ['/status/700', /bennu_respond: status 700/],
])
  test(`a mistake is a 500 and a line in the log: ${path}`, async (t) => {
    const wire = await open(t);
    assert.equal((await get(wire, path)).status, 500);
    await server.log(line);
    assert.equal((await get(wire, '/about/name')).body, 'name');
  });

for (const what of [
  'garbage', 'empty', 'type', 'broadcast', 'trailing', 'status_low', 'status_high',
  'status_wide', 'media_type', 'name', 'length', 'value', 'count',
])
  test(`nonsense in its mailbox is a 500 and the end of it: ${what}`, async (t) => {
    const wire = await open(t);
    const before = await endpointOf(wire);
    assert.equal((await get(wire, `/hostile/${what}`)).status, 500);
    await server.log(/endpoint\[\d+\]: .*; killed/);
    await gone(before);
    assert.equal((await get(wire, '/about/name')).body, 'name');
  });

test('a start that fails is a 500 each time, and no loop of forks', async (t) => {
  const refusing = await start(t, { endpoint: { ...plain, options: { refuse: 'yes' } } });
  const wire = await open(t, refusing);
  for (let i = 0; i < 3; i++) assert.equal((await get(wire, '/about')).status, 500);
  await until(() => refusing.count(/it could not start/) === 3, 'three lines');
  wire.close();
});

test('a handler that takes too long is killed: 504', async (t) => {
  const quick = await start(t, { endpoint: { ...plain, handler_timeout: '3s' } });
  const wire = await open(t, quick);
  for (const path of ['/hang', '/loop']) {
    const before = await endpointOf(wire);
    const answer = await get(wire, path);
    assert.deepEqual([answer.status, json(answer)], [504, error('Gateway Timeout')]);
    await quick.log(/its handler takes too long \(handler_timeout\); killed/);
    await gone(before);
    assert.equal((await get(wire, '/about/name')).body, 'name');
  }
  wire.close();
});

test('handlers and other connections do not wait for each other', async (t) => {
  const [hanging, wire] = [await open(t), await open(t)];
  await hanging.write(head('/hang'));
  await server.log(/hanging \/hang/);
  assert.equal((await get(wire, '/about/name')).body, 'name');
  const client = await server.connect();
  await client.join('test:free');
  await client.close();
  hanging.close();
  assert.equal((await get(wire, '/about/name')).body, 'name');
});

test('kill -9 during requests: 500, then a new process', async (t) => {
  const wire = await open(t);
  for (let i = 0; i < 5; i++) {
    const pid = await endpointOf(wire);
    await wire.write(head(`/hang?${i}`));
    await server.log(/hanging \/hang/);
    process.kill(pid, 'SIGKILL');
    assert.equal((await wire.response()).status, 500);
  }
});

test('kill -9 between requests costs none of them', async (t) => {
  const wire = await open(t);
  const pids = new Set();
  for (let i = 0; i < 50; i++) {
    const { pid, id } = await about(wire, `/about/${i}`);
    assert.equal(id, String(i));
    pids.add(pid);
    process.kill(pid, 'SIGKILL');
  }
  assert.equal(pids.size, 50);
});

test('SIGTERM lets the handler end', async (t) => {
  const wire = await open(t);
  const pid = await endpointOf(wire);
  await wire.write(head('/slow'));
  await server.log(/slow \/slow/);
  process.kill(pid, 'SIGTERM');
  assert.equal((await wire.response()).body, 'slow');
  await gone(pid);
  assert.equal((await get(wire, '/about/name')).body, 'name');
});

// ---- the end ----

test('the process goes with its connection', async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  await until(() => server.workers('endpoint').length === 0, 'the end of former ones');
  await client.join('test:stop');
  const wire = await open(t);
  assert.equal((await get(wire, '/count')).body, '1');
  const { pid, transport } = await about(wire);
  wire.close();
  await gone(pid);
  await gone(transport);
  await server.log(new RegExp(`\\[${pid}\\]: stopped after 1$`));
  await client.event('test:stop', 'stopped');
});

test('the process goes when its connection becomes a WebSocket', async (t) => {
  const wire = await open(t);
  const { pid, transport } = await about(wire);
  assert.equal((await wire.request(upgradeHead())).status, 101);
  await gone(pid);
  assert.equal(describe(transport).ppid, server.pid);
});

test('a server that stops waits for the answer', async (t) => {
  const stopping = await new Server({ endpoint: plain }).ready();
  const wire = await open(t, stopping);
  await wire.write(head('/slow') + head('/about'));
  await stopping.log(/slow \/slow/);
  const stopped = stopping.stop();
  const answer = await wire.response();
  assert.deepEqual([answer.body, answer.headers.connection], ['slow', 'close']);
  await wire.untilEnd();
  wire.close();
  await stopped;
});

test('the tree shows the process, and the page kills it', async (t) => {
  const shown = await start(t, { endpoint: { ...plain, tree: 'on' } });
  const [wire, page] = [await open(t, shown), await open(t, shown)];
  const pid = await endpointOf(wire);
  const tree = json(await get(page, '/bennu/tree')).supervisor;
  const all = (node) => [node, ...node.children.flatMap(all)];
  const node = all(tree).find((n) => n.pid === pid);
  assert.match(node.id, /^endpoint\/\d+$/);
  const answer = await post(page, '/bennu/kill', JSON.stringify({ id: node.id }), {
    'X-Bennu-Token': shown.token,
  });
  assert.equal(answer.status, 202);
  await gone(pid);
  assert.notEqual(await endpointOf(wire), pid);
  wire.close();
  page.close();
});

// ---- mistakes in the file ----

for (const [symbol, line] of [
  ['old', /bennu\.conf:[1-9]\d*: module endpoint\.so:old was built for ABI/],
  ['bad', /route GET \/a\/:id\/b\/:id: two parts of its path have one name/],
  ['none', /has no endpoint 'none'; define it with BENNU_ENDPOINT\(none\)/],
])
  test(`a module that does not fit is refused at the start: ${symbol}`, async () => {
    const refused = new Server({ endpoint: { module: `endpoint.so:${symbol}` } });
    await refused.log(line);
    await refused.ends(11);
  });
