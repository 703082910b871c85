// Who may connect: the application's connect, which runs in a process of its
// own; what it gives to the channels; and what its crashes, hangs and lies cost.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Client } from './lib/client.mjs';
import { describe, gone, stopped } from './lib/procs.mjs';
import { asan, Server, start } from './lib/server.mjs';
import { DEADLINE, until } from './lib/wait.mjs';
import { frame, head, takeFrame, TEXT, upgraded, upgradeHead, Wire } from './lib/wire.mjs';

// connect_timeout: where it is to pass, and where it must not, however slow the
// machine is.
const TIMEOUT = asan ? 4000 : 2000; // ms
const NEVER = '10min';
const socket = {
  module: 'connect.so:user_socket',
  connect_timeout: NEVER,
  auth_token: 'on',
};
const channels = { 'who:*': { module: 'connect.so:who' } };
const options = { socket, channels };

const server = await start({ after }, options);
const timed = await start({ after }, {
  channels,
  socket: { ...socket, connect_timeout: `${TIMEOUT}ms` },
});

const path = (query) => `/socket/websocket?${query}`;
const query = (params) => new URLSearchParams({ vsn: '2.0.0', ...params }).toString();

async function open(t, on = server) {
  const wire = await Wire.open(on.port);
  t.after(() => wire.close());
  return wire;
}

// The answer to an upgrade on a connection of its own.
async function answer(t, params, { headers = {}, on = server } = {}) {
  const wire = await open(t, on);
  const response = await wire.request(upgradeHead(headers, path(query(params))));
  wire.close();
  return response;
}
const status = async (...args) => (await answer(...args)).status;

async function client(t, params = {}, on = server) {
  const socket = await Client.open(on.url(query(params)));
  t.after(() => socket.socket.terminate());
  return socket;
}

// What a channel of this client knows.
async function who(client, topic = 'who:a') {
  const channel = await client.join(topic);
  const reply = client.frames.find((f) => f[1] === channel.joinRef);
  return reply[4].response;
}

const connectors = (on = server) => on.workers('connect').map((p) => p.pid);
const connector = async (on = server) => until(() => connectors(on)[0], 'connect');

// ---- what connect is told and what it gives ----

test('id, assigns, params and transport are there in every channel', async (t) => {
  const c = await client(t, { id: 'users:1', 'a[b]': '1', 'l[]': 'x' });
  for (const topic of ['who:a', 'who:b']) {
    const { assigns, ppid, ...rest } = await who(c, topic);
    assert.deepEqual(rest, {
      id: 'users:1',
      transport: 'websocket',
      params: { vsn: '2.0.0', id: 'users:1', a: { b: '1' }, l: ['x'] },
    });
    assert.deepEqual(assigns, { headers: {}, pid: await connector() });
    assert.match(
      describe(ppid).title,
      /^bennu: transport #\d+ 127\.0\.0\.1:\d+ websocket \/socket users:1$/,
    );
  }
});

test('without an id there is none', async (t) => {
  const c = await client(t);
  const { id, ppid } = await who(c);
  assert.equal(id, null);
  assert.match(describe(ppid).title, / websocket \/socket$/);
});

test('an id may hold any characters', async (t) => {
  const id = 'ü "x" %s \t😀';
  const c = await client(t, { id });
  assert.equal((await who(c)).id, id);
});

test('connect_info: what was asked for, and nothing else', async (t) => {
  const all = [
    'peer_data',
    'trace_context_headers',
    'x_headers',
    'uri',
    'user_agent',
    'sec_websocket_headers',
  ];
  const on = await start(t, { channels, socket: { ...socket, connect_info: all } });
  const headers = {
    'User-Agent': 'me/1',
    'X-Forwarded-For': '10.0.0.1',
    traceparent: '00-a',
    tracestate: 'b=c',
    Cookie: 'secret',
    Authorization: 'secret',
  };
  const c = await Client.open(on.url(query({ q: 'ä' })), { headers });
  t.after(() => c.socket.terminate());
  const { assigns } = await who(c);
  assert.match(assigns.peer, /^127\.0\.0\.1:\d+$/);
  assert.equal(
    assigns.uri,
    `http://127.0.0.1:${on.port}/socket/websocket?vsn=2.0.0&q=%C3%A4`,
  );
  assert.equal(assigns.agent, 'me/1');
  const lower = Object.fromEntries(
    Object.entries(assigns.headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  assert.equal(lower['sec-websocket-version'], '13');
  assert.equal(lower['x-forwarded-for'], '10.0.0.1');
  assert.equal(lower.traceparent, '00-a');
  assert.equal(lower.tracestate, 'b=c');
  assert.equal(lower.cookie, undefined);
  assert.equal(lower.authorization, undefined);
  assert.equal(lower.host, undefined);
});

test('a mount without a module lets everybody in and needs no process', async (t) => {
  const on = await start(t, { channels });
  assert.deepEqual(connectors(on), []);
  const c = await client(t, { id: 'users:1', do: 'refuse' }, on);
  const { ppid, ...rest } = await who(c);
  assert.deepEqual(rest, {
    id: null,
    transport: 'websocket',
    params: { vsn: '2.0.0', id: 'users:1', do: 'refuse' },
    assigns: {},
  });
});

test('a module that is not there, or is no socket, is refused at the start', async () => {
  for (const [module, why] of [
    ['none.so:user_socket', /none\.so/],
    ['connect.so:nothing', /connect\.so has no socket 'nothing'/],
  ]) {
    const bad = new Server({ channels, socket: { module } });
    await bad.ends(11);
    assert.match(bad.logText, why);
  }
});

// ---- refusals ----

test('refused: 403 with an empty body, and the connection goes on', async (t) => {
  const wire = await open(t);
  const refused = await wire.request(upgradeHead({}, path(query({ do: 'refuse' }))));
  assert.equal(refused.status, 403);
  assert.equal(refused.body, '');
  assert.equal((await wire.request(head('/nothing'))).status, 404);
  assert.equal((await wire.request(upgradeHead({}, path(query({ id: 'x' }))))).status, 101);
});

test('the order of the checks is that of Phoenix', async (t) => {
  const wire = await open(t);
  const ask = async (q, headers, method) =>
    (await wire.request(upgradeHead(headers, path(q), method))).status;
  const noUpgrade = { Upgrade: null, Connection: null };
  assert.equal(await ask('vsn=2.0.0&do=refuse', { ...noUpgrade }, 'POST'), 400);
  assert.equal(await ask('vsn=9.0.0&x=%'), 400);
  assert.equal(await ask('vsn=9.0.0&do=crash'), 403);
  assert.equal(await ask('vsn=2.0.0&do=refuse', noUpgrade), 403);
  const text = await wire.request(upgradeHead(noUpgrade, path('vsn=2.0.0&id=x')));
  assert.equal(text.status, 400);
  assert.match(text.body, /Connection/);
});

test('versions', async (t) => {
  const wire = await open(t);
  const ask = async (q) => (await wire.request(upgradeHead({}, path(q)))).status;
  for (const vsn of ['3.0.0', '2', '2.0', '2.1.0', '1.1.0', '', 'abc', '2.0.00', '2.0.0x'])
    assert.equal(await ask(`vsn=${vsn}`), 403, vsn);
  assert.equal(await ask('vsn[]=2.0.0'), 403);
  for (const q of ['', 'vsn=1.0.0', 'vsn=1.0.9', 'vsn=2.0.1', 'vsn=9&vsn=2.0.0'])
    assert.equal((await (await open(t)).request(upgradeHead({}, path(q)))).status, 101, q);
});

test('origins: the own host, and that of the request', async (t) => {
  const on = await start(t, {
    channels,
    server: { url_host: 'chat.example.com' },
    socket: { check_origin: [true, ':conn'] },
  });
  const ask = (origin) => status(t, {}, { on, headers: { Origin: origin, Host: `a.test:${on.port}` } });
  assert.equal(await ask('https://chat.example.com'), 101);
  assert.equal(await ask(`http://a.test:${on.port}`), 101);
  assert.equal(await ask(`https://a.test:${on.port}`), 403);
  assert.equal(await ask('http://a.test'), 403);
  assert.equal(await ask('https://example.com'), 403);
});

// ---- the token ----

const bearer = (token) =>
  `base64url.bearer.phx.${Buffer.from(token).toString('base64').replace(/=+$/, '')}`;

const tokens = [
  // Sec-WebSocket-Protocol, status, what is answered, the token
  [null, 101, undefined, undefined],
  ['phoenix', 101, 'phoenix', undefined],
  [`phoenix, ${bearer('a token: ÿ+/=')}`, 101, 'phoenix', 'a token: ÿ+/='],
  [bearer('t'), 101, undefined, 't'],
  ['mqtt, phoenix', 101, 'phoenix', undefined],
  ['mqtt', 403],
  [`${bearer('a')}, ${bearer('b')}`, 403],
  [`phoenix, ${bearer('a')}, ${bearer('b')}`, 101, 'phoenix', undefined],
  ['phoenix, base64url.bearer.phx.a-b_', 403],
  ['phoenix, base64url.bearer.phx.a', 403],
];

test('the token and the subprotocols', async (t) => {
  for (const [protocols, expected, answered, token] of tokens) {
    const wire = await open(t);
    const response = await wire.request(
      upgradeHead({ 'Sec-WebSocket-Protocol': protocols }, path(query({}))),
    );
    assert.equal(response.status, expected, protocols);
    if (expected !== 101) {
      assert.equal(response.body, '');
      continue;
    }
    assert.equal(response.headers['sec-websocket-protocol'], answered, protocols);
    await wire.write(frame(TEXT, JSON.stringify(['1', '1', 'who:a', 'phx_join', {}])));
    const reply = JSON.parse((await takeFrame(wire)).payload);
    assert.equal(reply[4].response.assigns.token, token, protocols);
  }
});

test('without auth_token the header is ignored', async (t) => {
  const on = await start(t, { channels, socket: { module: socket.module } });
  const headers = { 'Sec-WebSocket-Protocol': 'mqtt' };
  const response = await answer(t, {}, { on, headers });
  assert.equal(response.status, 101);
  assert.equal(response.headers['sec-websocket-protocol'], undefined);
});

// ---- crashes and hangs ----

for (const how of ['crash', 'exit', 'result'])
  test(`${how}: 500 for this client, the next one gets in`, async (t) => {
    const before = await connector();
    const response = await answer(t, { do: how });
    assert.equal(response.status, 500);
    assert.equal(response.body, '');
    assert.equal(await status(t, {}), 101);
    assert.notEqual(await connector(), before);
  });

for (const how of ['garbage', 'again', 'maybe', 'bad_assigns', 'list', 'bad_id', 'nul_id', 'end'])
  test(`${how} in place of an answer is a crash, too`, async (t) => {
    const before = await connector();
    assert.equal(await status(t, { do: how }), 500);
    await gone(before); // the supervisor heard it, too: it is killed, sooner or later
    assert.equal(await status(t, {}), 101);
  });

test('a hang: 403 after the time, a new process, and who waited gets in', async (t) => {
  const before = await connector(timed);
  const from = performance.now();
  const hanging = status(t, { do: 'loop' }, { on: timed });
  await until(() => describe(before)?.state === 'R', 'the loop');
  const waiting = status(t, {}, { on: timed });
  assert.equal(await hanging, 403);
  assert.ok(performance.now() - from >= TIMEOUT - 1);
  assert.equal(await waiting, 101);
  await gone(before);
  assert.notEqual(await connector(timed), before);
  await timed.log(new RegExp(`connect took more than ${TIMEOUT} ms: refused \\(connect_timeout\\)`));
});

test('a connect that is slow, but in time, is one', async (t) => {
  const c = await client(t, { sleep: TIMEOUT / 4, id: 'slow' }, timed);
  assert.equal((await who(c)).id, 'slow');
});

test('no turn in time: 403', async (t) => {
  const on = await start(t, { channels, socket: { ...socket, connect_timeout: '2s' } });
  const pid = await connector(on);
  process.kill(pid, 'SIGSTOP');
  await stopped(pid);
  const from = performance.now();
  assert.equal(await status(t, {}, { on }), 403);
  assert.ok(performance.now() - from >= 5999);
  await on.log(/no turn to connect in 6000 ms/);
  process.kill(pid, 'SIGCONT');
  assert.equal(await status(t, {}, { on }), 101);
});

test('kill -9 again and again while 100 clients connect: all get in', async (t) => {
  const on = await start(t, options);
  let done = false;
  let kills = 0;
  const killer = (async () => {
    while (!done && kills < 8) {
      const pid = await connector(on);
      process.kill(pid, 'SIGKILL');
      kills += 1;
      await gone(pid);
      await until(() => connectors(on).length === 1, 'a new one');
    }
  })();
  // As a client does: whom the process died for (500) comes again.
  const join = async (i) => {
    for (let tries = 0; ; tries += 1) {
      const result = await status(t, { sleep: 2, id: `users:${i}` }, { on });
      if (result === 101) return tries;
      assert.equal(result, 500);
    }
  };
  const tries = await Promise.all(Array.from({ length: 100 }, (_, i) => join(i)));
  done = true;
  await killer;
  // One kill costs one client at most.
  assert.ok(tries.reduce((a, b) => a + b, 0) <= kills, `${tries} with ${kills} kills`);
});

test('the page may kill it', async (t) => {
  const on = await start(t, { ...options, endpoint: { tree: 'on' } });
  const before = await connector(on);
  const body = JSON.stringify({ id: 'connect/1' });
  const wire = await open(t, on);
  const { status: killed } = await wire.request(
    head(
      '/bennu/kill',
      {
        Host: `127.0.0.1:${on.port}`,
        'X-Bennu-Token': on.token,
        'Content-Type': 'application/json',
        'Content-Length': body.length,
      },
      'POST',
    ) + body,
  );
  assert.equal(killed, 202);
  await gone(before);
  assert.equal(await status(t, {}, { on }), 101);
});

test('connect_workers: so many at a time', async (t) => {
  const on = await start(t, {
    channels,
    server: { connect_workers: 3 },
    socket,
  });
  assert.equal(connectors(on).length, 3);
  assert.deepEqual(on.workers('connect').map((p) => p.title).sort(), [
    'bennu: connect 1',
    'bennu: connect 2',
    'bennu: connect 3',
  ]);
  const clients = await Promise.all([1, 2, 3].map(() => client(t, { sleep: 4000 }, on)));
  const pids = await Promise.all(clients.map(async (c) => (await who(c)).assigns.pid));
  assert.deepEqual([...new Set(pids)].sort(), connectors(on).sort());
});

// ---- the client meanwhile ----

test('a client that goes away while connect runs ends its transport', async (t) => {
  const on = await start(t, options);
  const wire = await Wire.open(on.port);
  await wire.write(upgradeHead({}, path(query({ sleep: 60000 }))));
  await on.settles({ connect: 1, transport: 1 });
  wire.close();
  await on.settles({ connect: 1 });
});

test('what a client sends ahead is there after the 101', async (t) => {
  const wire = await open(t);
  await wire.write(
    Buffer.concat([
      Buffer.from(upgradeHead({}, path(query({ sleep: 100 })))),
      frame(TEXT, JSON.stringify([null, '1', 'phoenix', 'heartbeat', {}])),
    ]),
  );
  await wire.write(frame(TEXT, JSON.stringify([null, '2', 'phoenix', 'heartbeat', {}])));
  assert.equal((await wire.response()).status, 101);
  for (const ref of ['1', '2'])
    assert.equal(JSON.parse((await takeFrame(wire)).payload)[1], ref);
});

test('more ahead than is kept waits in the socket', async (t) => {
  const wire = await open(t);
  const beat = frame(TEXT, JSON.stringify([null, '1', 'phoenix', 'heartbeat', {}]));
  const n = 5000; // 300 kB
  wire.write(Buffer.from(upgradeHead({}, path(query({ sleep: 200 })))));
  wire.write(Buffer.concat(Array.from({ length: n }, () => beat)));
  assert.equal((await wire.response()).status, 101);
  for (let i = 0; i < n; i += 1) await takeFrame(wire);
});

test('a request behind a refused upgrade is answered in its turn', async (t) => {
  const wire = await open(t);
  await wire.write(
    upgradeHead({}, path(query({ do: 'refuse', sleep: 50 }))) + head('/nothing'),
  );
  assert.equal((await wire.response()).status, 403);
  assert.equal((await wire.response()).status, 404);
});

test('the server stops in order while connect runs', async (t) => {
  const on = await start(t, options);
  const wire = await open(t, on);
  await wire.write(upgradeHead({}, path(query({ sleep: 60000 }))));
  await on.settles({ connect: 1, transport: 1 });
  await on.stop();
  assert.equal((await wire.response()).status, 503);
  assert.equal((await wire.untilEnd()).length, 0);
});

// ---- the socket id ----

test('disconnect closes all sockets with this id with 1001, and no others', async (t) => {
  const mine = [await client(t, { id: 'users:7' }), await client(t, { id: 'users:7' })];
  const other = await client(t, { id: 'users:8' });
  for (const c of mine) await c.join('who:a');
  const channel = await other.join('who:a');
  await channel.ok('disconnect', { text: 'users:7' });
  for (const c of mine) {
    assert.equal((await c.end()).code, 1001);
    assert.deepEqual(c.frames.slice(1), []); // the reply to the join came first
  }
  await other.heartbeat();
});

test('a channel may disconnect its own socket', async (t) => {
  const c = await client(t, { id: 'users:9' });
  const channel = await c.join('who:a');
  channel.send('disconnect', { text: 'users:9' });
  assert.equal((await c.end()).code, 1001);
});

test('a busy channel does not hold it up', async (t) => {
  const c = await client(t, { id: 'users:10' });
  const busy = await c.join('who:a');
  busy.send('sleep', { text: `${2 * DEADLINE}` }); // longer than is waited for the end
  await (await (await client(t)).join('who:a')).ok('disconnect', { text: 'users:10' });
  assert.equal((await c.end()).code, 1001);
});

test('other events on the topic of the id do nothing', async (t) => {
  const c = await client(t, { id: 'users:11' });
  const channel = await (await client(t)).join('who:a');
  await channel.ok('other', { text: 'users:11' });
  await channel.ok('disconnect', { text: 'users' });
  await c.heartbeat();
  assert.equal(c.frames.length, 1);
});

test('disconnect on the topic of a channel is a broadcast like others', async (t) => {
  const c = await client(t, { id: 'users:12' });
  await c.join('who:topic');
  await (await (await client(t)).join('who:a')).ok('disconnect', { text: 'who:topic' });
  assert.deepEqual(await c.event('who:topic', 'disconnect'), [null, null, 'who:topic', 'disconnect', {}]);
  await c.heartbeat();
});

test('an id that is also a joined topic: its broadcasts come, disconnect closes', async (t) => {
  const c = await client(t, { id: 'who:both' });
  await c.join('who:both');
  const channel = await (await client(t)).join('who:a');
  await channel.ok('other', { text: 'who:both' });
  assert.deepEqual(await c.event('who:both', 'other'), [null, null, 'who:both', 'other', {}]);
  await channel.ok('disconnect', { text: 'who:both' });
  assert.equal((await c.end()).code, 1001);
});

test('the id outlives a pubsub worker', async (t) => {
  const on = await start(t, { ...options, pubsub: 1 });
  const c = await client(t, { id: 'users:13' }, on);
  const [{ pid }] = on.workers('pubsub');
  process.kill(pid, 'SIGKILL');
  await gone(pid);
  const channel = await (await client(t, {}, on)).join('who:a');
  await until(async () => {
    await channel.ok('disconnect', { text: 'users:13' });
    return c.socket.readyState === 3;
  }, 'the close');
  assert.equal((await c.end()).code, 1001);
});

test('no confirmation of the id: 503', async (t) => {
  const on = await start(t, { channels, socket: { ...socket, connect_timeout: '3s' }, pubsub: 1 });
  const [{ pid }] = on.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  await stopped(pid);
  assert.equal(await status(t, { id: 'users:14' }, { on }), 503);
  assert.equal(await status(t, {}, { on }), 101); // needs no pubsub
  process.kill(pid, 'SIGCONT');
  assert.equal(await status(t, { id: 'users:14' }, { on }), 101);
});

test('after all that the first server is as it was', async (t) => {
  await until(() => server.census().transport === undefined, 'all transports ended');
  await server.settles({ connect: 1 });
  assert.equal(await status(t, {}), 101);
  const wire = await upgraded(server.port);
  wire.close();
});
