// The channels of the demo application, event by event, as the originals do;
// most of them with the official client, as their pages have it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Socket } from 'phoenix';
import WebSocket from 'ws';
import { sign, verify } from './lib/phoenix-token.mjs';
import { build, Server, temporary } from './lib/server.mjs';
import { DEADLINE, Inbox, until, within } from './lib/wait.mjs';
import { head, Wire } from './lib/wire.mjs';

// ms; what is sent in a row comes within these, also where the machine is slow.
const WAIT = 2000; // of dupe
const DEBOUNCE = 2000;
const SLOW = 400;
const INTERVAL = 200; // between new tokens
const SECRET = 'x'.repeat(64);

const module = (file, symbol) => `"${path.join(build, 'demo', file)}.so:${symbol}"`;
const channel = (pattern, symbol, options = '') =>
  `channel "${pattern}" { module = ${module('demo', symbol)} restart = temporary ${options} }`;

const directory = temporary();
after(() => fs.rmSync(directory, { recursive: true }));
const secretFile = path.join(directory, 'secret');
fs.writeFileSync(secretFile, SECRET, { mode: 0o600 });

const text = (endpoint = '') => `
server { listen = {"127.0.0.1:0"} crash_limit = 0 }
socket "/socket" {
  ${channel('ping', 'ping')}
  ${channel('ping:*', 'ping')}
  ${channel('dupe', 'dupe', `options { wait = ${WAIT} }`)}
  ${channel('demo:*', 'demo', `options { tick = 600000 debounce = ${DEBOUNCE} }`)}
  ${channel('broken:*', 'demo', 'options { tick = "5s" }')}
}
socket "/stats_socket" {
  module = ${module('demo', 'stats_socket')}
  ${channel('*', 'stats', `options { ping = 20 slow = ${SLOW} }`)}
}
socket "/endless_socket" { ${channel('*', 'stats', 'options { slow = 600000 }')} }
socket "/push_socket" { ${channel('*', 'push')} }
socket "/auth_socket" {
  module = ${module('demo', 'auth_socket')}
  ${channel('user:*', 'user')}
  ${channel('recurring', 'recurring', `options { interval = ${INTERVAL} }`)}
}
endpoint {
  module = ${module('superheroes', 'api')}
  tree = true # and the metrics
  secret_file = "${secretFile}"
  ${endpoint}
}
`;

async function begin(t, endpoint) {
  const server = new Server({ text: text(endpoint) });
  t.after(() => server.stop());
  return server.ready();
}

const server = await begin({ after });

// ---- the official client ----

function open(t, mount, on = server, params = {}) {
  const socket = new Socket(`ws://127.0.0.1:${on.port}${mount}`, { transport: WebSocket, params, timeout: DEADLINE });
  socket.connect();
  t.after(() => socket.disconnect());
  return socket;
}

// ['ok', response], ['error', response] or ['timeout'].
const outcome = (push) =>
  within(
    new Promise((resolve) => {
      for (const status of ['ok', 'error', 'timeout'])
        push.receive(status, (response) => resolve([status, response]));
    }),
    () => 'the outcome of a push',
  );

const call = (joined, event, payload = {}) => outcome(joined.push(event, payload, DEADLINE));

// Something that has no answer: the client is not to wait for one.
const send = (joined, event, payload = {}) => joined.push(event, payload, 1);

// Joined; its `inbox` has what comes of these events: { event, payload, at }.
async function join(socket, topic, events = []) {
  const joining = socket.channel(topic);
  joining.inbox = new Inbox();
  for (const event of events)
    joining.on(event, (payload) =>
      joining.inbox.add({ event, payload, at: performance.now() }),
    );
  assert.deepEqual(await outcome(joining.join()), ['ok', {}]);
  joining.next = (event) => joining.inbox.take((e) => e.event === event, event);
  return joining;
}

// What the server has counted so far: { name: value }.
async function metrics(on = server) {
  const wire = await Wire.open(on.port);
  const { status, body } = await wire.request(head('/bennu/metrics'));
  wire.close();
  assert.equal(status, 200, body);
  return Object.fromEntries(
    body
      .split('\n')
      .filter((line) => /^[^#{]+ \S+$/.test(line))
      .map((line) => line.split(' '))
      .map(([name, value]) => [name, Number(value)]),
  );
}

// The server's metrics rise by that much. It counts behind its answers.
async function rises(expected, work) {
  const before = await metrics();
  await work();
  let rise;
  const look = async () => {
    const now = await metrics();
    rise = Object.fromEntries(
      Object.keys(expected).map((name) => [name, (now[name] ?? 0) - (before[name] ?? 0)]),
    );
    return isDeepStrictEqual(rise, expected);
  };
  await until(look, () => `${JSON.stringify(expected)}, but ${JSON.stringify(rise)}`);
}

// ---- ping ----

describe('request_ping', () => {
  test('becomes send_ping with the node, for all of the topic', async (t) => {
    const topics = ['ping:me', 'ping:me', 'ping:other'];
    const [a, b, other] = await Promise.all(
      topics.map((topic) => join(open(t, '/socket'), topic, ['send_ping', 'request_ping'])),
    );
    send(a, 'request_ping', { why: 'test', from_node: 'forged' });
    for (const joined of [a, b]) {
      const { payload } = await joined.next('send_ping');
      assert.deepEqual(payload, { why: 'test', from_node: `bennu@${os.hostname()}` });
      assert.deepEqual(await call(joined, 'ping', { ack_phrase: 'x' }), ['ok', { ping: 'x' }]);
    }
    assert.deepEqual(await call(other, 'ping'), ['ok', { ping: 'pong' }]);
    for (const joined of [a, b, other]) assert.deepEqual(joined.inbox.items, []);
  });

  test('with a payload that is no object says the node only', async (t) => {
    const joined = await join(open(t, '/socket'), 'ping', ['send_ping']);
    send(joined, 'request_ping', [1]);
    assert.deepEqual(Object.keys((await joined.next('send_ping')).payload), ['from_node']);
  });
});

// ---- dupe ----

describe('dupe', () => {
  const numbers = async (joined, n) => {
    const got = [];
    while (got.length < n) got.push(await joined.next('number'));
    return got;
  };
  const values = (got) => got.map(({ payload }) => payload.value);

  test('numbers wait, and come once each, in order', async (t) => {
    const [a, b] = await Promise.all([1, 2].map(() => join(open(t, '/socket'), 'dupe', ['number'])));
    const began = performance.now();
    for (const number of [3, 1, 3, 2.5, 1, -7, 3]) send(a, 'number', { number });
    for (const joined of [a, b]) {
      const got = await numbers(joined, 4);
      assert.deepEqual(values(got), [3, 1, 2.5, -7]);
      // Together, and not before the time of the first.
      assert.ok(got[0].at - began >= WAIT - 1, `${got[0].at - began} ms`);
    }
    // A new time begins with the next: the same number comes again.
    send(a, 'number', { number: 3 });
    assert.deepEqual(values(await numbers(b, 1)), [3]);
    assert.deepEqual(b.inbox.items, []);
  });

  test('more than a thousand are not kept waiting', async (t) => {
    const joined = await join(open(t, '/socket'), 'dupe', ['number']);
    const sent = Array.from({ length: 1500 }, (_, number) => number);
    for (const number of sent) send(joined, 'number', { number });
    assert.deepEqual(values(await numbers(joined, sent.length)), sent);
  });

  test('what is no number is an unknown event', async (t) => {
    const client = await server.connect();
    t.after(() => client.close());
    for (const payload of [{}, { number: '1' }, { number: null }, []]) {
      const joined = await client.join('dupe');
      joined.send('number', payload);
      assert.equal((await client.event('dupe', 'phx_error'))[0], joined.joinRef);
    }
  });
});

// ---- debounce_ping ----

describe('debounce_ping', () => {
  const joinDemo = (t, topic) => join(open(t, '/socket'), topic, ['debounce_ping', 'tick']);

  test('idle: at once; once more when there were more; then idle again', async (t) => {
    const joined = await joinDemo(t, 'demo:1');
    await joined.next('tick');
    const answers = [];
    const isAtOnce = async () => {
      let over = false;
      const later = call(joined, `ping:${DEBOUNCE}`);
      answers.push(later.then(() => (over = true)));
      send(joined, 'debounce_ping');
      const got = await joined.next('debounce_ping');
      assert.equal(over, false);
      return got;
    };
    const began = performance.now();
    const first = await isAtOnce();
    for (let i = 0; i < 4; i++) send(joined, 'debounce_ping');
    const second = await joined.next('debounce_ping');
    assert.deepEqual(first.payload, {});
    assert.ok(second.at - began >= DEBOUNCE - 1, `${second.at - began} ms`);
    // The second one's time runs: another is held back, and only until its end.
    send(joined, 'debounce_ping');
    const third = await joined.next('debounce_ping');
    assert.ok(third.at - began >= 2 * DEBOUNCE - 1, `${third.at - began} ms`);
    // Two times long nothing comes.
    assert.deepEqual((await call(joined, `ping:${DEBOUNCE * 2}`))[0], 'ok');
    assert.deepEqual(joined.inbox.items, []);
    await isAtOnce();
    await Promise.all(answers);
  });

  test('each client has a time of its own', async (t) => {
    const both = async (topic) => {
      const a = await joinDemo(t, topic);
      const began = performance.now();
      send(a, 'debounce_ping');
      await a.next('debounce_ping');
      const b = await joinDemo(t, topic);
      send(a, 'debounce_ping');
      const [late, early] = await Promise.all([a, b].map((joined) => joined.next('debounce_ping')));
      return { late: late.at - began, early: early.at - began };
    };
    let times = await both('demo:2');
    // Again, where b has come so late that the time of a was over.
    for (let i = 3; i < 10 && times.early >= DEBOUNCE; i++) times = await both(`demo:${i}`);
    assert.ok(times.early < DEBOUNCE && times.late >= DEBOUNCE - 1, JSON.stringify(times));
  });
});

test('an option that is no time crashes the join', async (t) => {
  const joining = open(t, '/socket').channel('broken:1');
  const [status] = await outcome(joining.join());
  assert.equal(status, 'error');
  joining.leave();
  await server.log(/tick = "5s": not milliseconds/);
});

// ---- /stats_socket ----

describe('/stats_socket', () => {
  // The order of the answers, and how long until the last, in ms.
  async function five(joined, event) {
    const began = performance.now();
    const order = [];
    const pushes = [0, 1, 2, 3, 4].map(async (n) => {
      const answer = await call(joined, event);
      assert.deepEqual(answer, ['ok', { ping: 'pong' }]);
      order.push(n);
    });
    await Promise.all(pushes);
    return { order, ms: performance.now() - began };
  }

  test('valid is joined; invalid always fails; both are counted', async (t) => {
    const counters = {
      socket_connect: 1,
      stats_channel_join_success: 1,
      stats_channel_join_fail: 2,
    };
    await rises(counters, async () => {
      const socket = open(t, '/stats_socket');
      await join(socket, 'valid');
      const invalid = socket.channel('invalid');
      assert.deepEqual(await outcome(invalid.join()), ['error', { reason: 'always fails' }]);
      invalid.leave();
      const other = socket.channel('other');
      assert.deepEqual(await outcome(other.join()), ['error', { reason: 'unmatched topic' }]);
      other.leave();
    });
  });

  test('ping is measured', async (t) => {
    await rises({ stats_channel_ping_ms_count: 5 }, async () => {
      const joined = await join(open(t, '/stats_socket'), 'valid');
      assert.deepEqual((await five(joined, 'ping')).order, [0, 1, 2, 3, 4]);
    });
  });

  // So many at once that do not end, each in its task. Gives what kills them.
  async function endless(joined, n) {
    await until(() => server.workers('task').length === 0, 'the end of former tasks');
    const answers = Array.from({ length: n }, () => call(joined, 'parallel_slow_ping'));
    const tasks = () => server.workers('task');
    await until(() => tasks().length === n, () => `${tasks().length} tasks`);
    return async () => {
      for (const { pid } of tasks()) process.kill(pid, 'SIGKILL');
      for (const answer of answers)
        assert.deepEqual(await answer, ['error', { error: 'killed' }]);
    };
  }

  test('five slow pings block each other, five parallel ones do not', async (t) => {
    const joined = await join(open(t, '/stats_socket'), 'valid');
    const blocked = await five(joined, 'slow_ping');
    assert.deepEqual(blocked.order, [0, 1, 2, 3, 4]);
    assert.ok(blocked.ms >= 5 * SLOW - 1, `${blocked.ms} ms`);
    const free = await five(joined, 'parallel_slow_ping');
    assert.ok(free.ms >= SLOW - 1, `${free.ms} ms`);
    const kill = await endless(await join(open(t, '/endless_socket'), 'valid'), 5);
    await kill();
  });

  test('while it is parallel the channel answers others', async (t) => {
    const joined = await join(open(t, '/endless_socket'), 'valid');
    const kill = await endless(joined, 1);
    assert.deepEqual(await call(joined, 'ping'), ['ok', { ping: 'pong' }]);
    await kill();
  });

  test('a killed task is an error, and costs nobody else', async (t) => {
    const joined = await join(open(t, '/endless_socket'), 'valid');
    const kill = await endless(joined, 1);
    await kill();
    assert.deepEqual(await call(joined, 'ping'), ['ok', { ping: 'pong' }]);
  });
});

// ---- POST /api/push ----

const INVALID = { error: 'Invalid push arguments: channel, data, event are required.' };

async function push(body, { on = server, headers = {} } = {}) {
  const wire = await Wire.open(on.port);
  const data = typeof body === 'string' ? body : JSON.stringify(body);
  const all = {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(data),
    ...headers,
  };
  const answer = await wire.request(head('/api/push', all, 'POST') + data);
  wire.close();
  return [answer.status, JSON.parse(answer.body)];
}

describe('POST /api/push', () => {
  test('reaches the clients of each channel, once', async (t) => {
    const counters = {
      push_api_requested: 2,
      push_api_processed: 2,
      push_requested: 3,
      push_delivered: 3,
      push_delivery_ms_count: 3,
    };
    await rises(counters, async () => {
      const [a, b, c] = await Promise.all(
        ['a', 'b', 'c'].map((topic) => join(open(t, '/push_socket'), topic, ['msg'])),
      );
      const data = { text: 'ü ☥ "', list: [1, null, { deep: true }] };
      assert.deepEqual(await push({ channel: ['a', 'b', 'a'], data, event: 'news' }), [
        200,
        { channel: ['a', 'b'], data, event: 'news' },
      ]);
      for (const joined of [a, b])
        assert.deepEqual((await joined.next('msg')).payload, { data, event: 'news' });
      assert.deepEqual(await push({ channel: 'c', data: null, event: '' }), [
        200,
        { channel: ['c'], data: null, event: '' },
      ]);
      assert.deepEqual((await c.next('msg')).payload, { data: null, event: '' });
      for (const joined of [a, b, c]) {
        // Behind this answer nothing more can come.
        await outcome(joined.leave());
        assert.deepEqual(joined.inbox.items, []);
      }
    });
  });

  test('to nobody is no error', async () => {
    assert.equal((await push({ channel: 'nobody', data: 1, event: 'e' }))[0], 200);
    assert.deepEqual(await push({ channel: [], data: 1, event: 'e' }), [
      200,
      { channel: [], data: 1, event: 'e' },
    ]);
    assert.equal((await push({ channel: '', data: 1, event: 'e' }))[0], 200);
  });

  test('what is missing or no name is 422', async () => {
    const good = { channel: 'a', data: 1, event: 'e' };
    const without = (key) => ({ ...good, [key]: undefined });
    const cases = [
      without('channel'), without('data'), without('event'), {}, [], 'text', null,
      { ...good, channel: null }, { ...good, channel: 1 }, { ...good, channel: ['a', 1] },
      { ...good, channel: { a: 'a' } }, { ...good, channel: [['a']] },
      { ...good, event: null }, { ...good, event: 1 }, { ...good, event: ['e'] },
    ];
    for (const body of cases)
      assert.deepEqual(await push(JSON.stringify(body)), [422, INVALID], JSON.stringify(body));
    const many = Array.from({ length: 101 }, (_, n) => `many:${n}`);
    assert.equal((await push({ ...good, channel: many }))[0], 422);
    assert.equal((await push({ ...good, channel: many.slice(1) }))[0], 200);
    assert.equal((await push('{"channel": "a"'))[0], 400);
  });

  test('with push_token only who has it', async (t) => {
    const guarded = await begin(t, 'options { push_token = "sesame" }');
    const body = { channel: 'a', data: 1, event: 'e' };
    const ask = (headers) => push(body, { on: guarded, headers });
    for (const headers of [
      {}, { Authorization: 'sesame' }, { Authorization: 'Bearer ' },
      { Authorization: 'Bearer sesam' }, { Authorization: 'Bearer sesame2' },
    ])
      assert.deepEqual(await ask(headers), [403, { error: 'Access forbidden' }]);
    assert.equal((await ask({ Authorization: 'Bearer sesame' }))[0], 200);
  });
});

// ---- /auth_socket ----

const SALT = 'salt identifier';

const requestToken = (body, type = 'application/json') =>
  fetch(`http://127.0.0.1:${server.port}/api/token`, {
    method: 'POST', headers: { 'Content-Type': type }, body,
  });

async function tokenOf(user_id) {
  const response = await requestToken(JSON.stringify({ user_id }));
  assert.equal(response.status, 200);
  return (await response.json()).token;
}

const openAs = async (t, user_id) => open(t, '/auth_socket', server, { token: await tokenOf(user_id) });

// The status with which a connection is refused; 101: it is not.
const statusOf = (query) =>
  within(
    new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${server.port}/auth_socket/websocket?vsn=2.0.0${query}`);
      socket.on('error', (error) => resolve(Number(/\d{3}$/.exec(error.message)?.[0])));
      socket.on('open', () => socket.close());
      socket.on('close', () => resolve(101));
    }),
    () => 'an answer',
  );

describe('/auth_socket', () => {
  test('POST /api/token gives tokens that Phoenix can verify', async () => {
    for (const id of [7, 'ann', '7']) assert.notEqual(verify(SECRET, SALT, await tokenOf(id)), null);
    for (const id of [null, '', 1.5, 1e300, {}, 'x'.repeat(61)]) {
      const response = await requestToken(JSON.stringify({ user_id: id }));
      assert.equal(response.status, 422, JSON.stringify(id));
      assert.match((await response.json()).errors.detail, /^user_id is required/);
    }
    assert.equal((await requestToken('{}')).status, 422);
    assert.equal((await requestToken('{')).status, 400);
    assert.equal((await requestToken('{}', 'text/plain')).status, 415);
  });

  test('is open to whoever has one, and to nobody else', async () => {
    const query = (...args) => `&token=${sign(SECRET, ...args)}`;
    assert.equal(await statusOf(`&token=${await tokenOf(7)}`), 101);
    assert.equal(await statusOf(query(SALT, 7)), 101);
    assert.equal(await statusOf(''), 403);
    assert.equal(await statusOf('&token='), 403);
    assert.equal(await statusOf('&token=abc'), 403);
    assert.equal(await statusOf(query('user socket', 7)), 403);
    assert.equal(await statusOf(query(SALT, { id: 7 })), 403);
    const day = 86_400_000;
    assert.equal(await statusOf(query(SALT, 7, { signedAt: Date.now() - day - 10_000 })), 403);
    assert.equal(await statusOf(query(SALT, 7, { signedAt: Date.now() - day + 60_000 })), 101);
  });

  test('user:ID is joined by that user only', async (t) => {
    const socket = await openAs(t, 7);
    await join(socket, 'user:7');
    for (const topic of ['user:8', 'user:77', 'user:', 'user:7x'])
      assert.deepEqual(await outcome(socket.channel(topic).join()), ['error', { reason: 'unauthorized' }]);
    await join(await openAs(t, 'ann'), 'user:ann');
  });

  test('push and push_timed come to all connections of the user', async (t) => {
    const events = ['push', 'push_timed'];
    const topics = ['user:1', 'user:1', 'user:2'];
    const [a, b, other] = await Promise.all(
      topics.map(async (topic, i) => join(await openAs(t, i < 2 ? 1 : 2), topic, events)),
    );
    await rises({ user_push_timed_ms_count: 2 }, async () => {
      assert.deepEqual(await call(a, 'push', { n: 1 }), ['ok', {}]);
      assert.deepEqual(await call(a, 'push_timed', { n: 2, at: 0, ms: 'forged' }), ['ok', {}]);
      for (const joined of [a, b]) {
        assert.deepEqual((await joined.next('push')).payload, { n: 1 });
        const { n, ms, ...rest } = (await joined.next('push_timed')).payload;
        assert.deepEqual([n, rest], [2, {}]);
        assert.ok(ms >= 0 && ms < DEADLINE, String(ms));
      }
    });
    assert.deepEqual(other.inbox.items, []);
  });

  test('what is broadcast from outside comes, too; "disconnect" closes the user\'s sockets', async (t) => {
    const bennu = (...args) => {
      const { status, stderr } = spawnSync(path.join(build, 'supervisor/bennu'), ['-r', server.run, 'broadcast', ...args]);
      assert.equal(status, 0, stderr.toString());
    };
    const socket = await openAs(t, 3);
    const joined = await join(socket, 'user:3', ['push', 'push_timed']);
    bennu('user:3', 'push', '{"n":1}');
    bennu('user:3', 'push_timed', '{"n":2}');
    assert.deepEqual((await joined.next('push')).payload, { n: 1 });
    assert.deepEqual((await joined.next('push_timed')).payload, { n: 2 });
    const closed = new Promise((resolve) => socket.onClose(({ code }) => resolve(code)));
    bennu('auth_socket:3', 'disconnect', '{}');
    assert.equal(await within(closed, () => 'the close'), 1001);
  });

  test('recurring sends new tokens, each of which opens the socket', async (t) => {
    const socket = await openAs(t, 7);
    const began = performance.now();
    const joined = await join(socket, 'recurring', ['new_token']);
    const tokens = [];
    for (let i = 0; i < 3; i++) tokens.push(await joined.next('new_token'));
    const ms = tokens[2].at - began;
    assert.ok(ms >= 3 * INTERVAL - 1, `${ms} ms`);
    for (const { payload } of tokens) {
      assert.deepEqual(Object.keys(payload), ['token']);
      assert.equal(await statusOf(`&token=${payload.token}`), 101);
    }
  });
});
