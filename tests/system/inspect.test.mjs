// POST /bennu/inspect: what a channel is doing, as it and its transport say.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Server, start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

const options = {
  channels: {
    'api:*': { module: 'api.so:api', intensity: 100, period: '10s' },
    'once:*': { module: 'api.so:api', restart: 'temporary' },
    'test:*': { intensity: 100, period: '10s' },
  },
  endpoint: { tree: 'true' },
};
const server = await start({ after }, options);

// { status, body }: body is the JSON.
async function inspect(id, { to = server, headers = {}, body, method = 'POST' } = {}) {
  const response = await fetch(`http://127.0.0.1:${to.port}/bennu/inspect`, {
    method,
    headers: { 'X-Bennu-Token': to.token, 'Content-Type': 'application/json', ...headers },
    body: method === 'GET' ? undefined : (body ?? JSON.stringify({ id })),
  });
  return { status: response.status, body: JSON.parse(await response.text()) };
}

// A channel has 1 s for its answer, and its transport 3 s: less than a busy
// machine may take. Who is told so asks again.
const isLate = ({ status }) => status === 502 || status === 504;

const answer = (id, options) => until(async () => {
  const told = await inspect(id, options);
  return !isLate(told) && told;
}, `what ${id} is doing`);

// That the channel did not answer; not that its transport did not.
const silence = (id, error) => until(async () => {
  const told = await inspect(id);
  return (!isLate(told) || told.body.error === error) && told;
}, error);

// A joined channel with its pid and its id.
async function victim(t, topic, { to = server, params } = {}) {
  const client = await to.connect();
  t.after(() => client.socket.terminate());
  const channel = await client.join(topic, params);
  return { client, channel, ...(await whoIs(topic, to)) };
}

async function whoIs(topic, to = server) {
  const find = () => to.workers('channel').find((p) => p.title.includes(` ${topic} `));
  const { pid, title } = await until(find, `the channel of ${topic}`);
  const [, connection, number] = /#(\d+)\.(\d+)/.exec(title);
  return { pid, id: `channel/${connection}/${number}` };
}

test('what is known of an idle channel', async (t) => {
  const { pid, id } = await victim(t, 'api:idle');
  assert.deepEqual(await answer(id), {
    status: 200,
    body: {
      id, topic: 'api:idle', pid, restarts: 0, state: 'joined', running: null, in_hand: null,
      waiting_messages: 0, waiting_bytes: 0, kept: 0, subscriptions: 0, paused: false,
      timers: 0, tasks: 0, unacknowledged: 0, dump: {},
    },
  });
});

test('its state, timers, tasks, what it kept and what must be acknowledged', async (t) => {
  const { channel, id } = await victim(t, 'api:full');
  const state = { list: [1, { a: null }], text: 'ü"\n' };
  await channel.ok('state', state);
  await channel.ok('waiting');
  await channel.ok('tasks', { n: 2, how: 'wait' });
  channel.send('push_acked', { id: 'one', timeout: 70000, policy: 'log' });
  await channel.event('important');
  const { status, body } = await answer(id);
  assert.equal(status, 200);
  assert.deepEqual(body.dump, state);
  const { timers, tasks, kept, unacknowledged, subscriptions } = body;
  assert.deepEqual({ timers, tasks, kept, unacknowledged, subscriptions }, {
    timers: 3, tasks: 2, kept: 1, unacknowledged: 1, subscriptions: 1,
  });
  assert.ok(body.next_timer_ms > 30000 && body.next_timer_ms <= 60000, body.next_timer_ms);
});

test('a channel without a dump', async (t) => {
  const { channel, id } = await victim(t, 'test:no-dump');
  const { status, body } = await answer(id);
  assert.equal(status, 200);
  assert.equal(body.dump, null);
  await channel.ok('echo');
});

test('after a crash: restarts, and the state that is there now', async (t) => {
  const { channel, id } = await victim(t, 'api:again');
  await channel.ok('state', { old: true });
  assert.equal((await channel.call('crash')).status, 'error');
  await channel.ok('echo');
  const { body } = await answer(id);
  assert.equal(body.restarts, 1);
  assert.deepEqual(body.dump, {});
});

test('a channel that is busy: 504, with what is known nevertheless', async (t) => {
  const { client, channel, id } = await victim(t, 'api:busy');
  channel.send('busy', { ms: 5000 });
  channel.send('echo');
  channel.send('echo');
  await client.heartbeat();
  const { status, body } = await silence(id, 'the channel is busy');
  assert.equal(status, 504);
  assert.equal(body.error, 'the channel is busy');
  assert.equal(body.in_hand, 'busy');
  assert.equal(body.waiting_messages, 2);
  assert.ok(body.waiting_bytes > 0);
  assert.ok(!('dump' in body));
  await client.heartbeat();
  // Its late answer to that is for nobody; the next one is for who asks.
  await channel.ok('state', { now: 1 });
  assert.deepEqual((await answer(id)).body.dump, { now: 1 });
});

test('a join that runs: 504; when it is killed: 404', async (t) => {
  const client = await server.connect();
  t.after(() => client.socket.terminate());
  client.send('1', 'api:join', 'phx_join', { join: 'block' }, '1');
  const { pid, id } = await whoIs('api:join');
  const { status, body } = await silence(id, 'the channel is busy: its join runs');
  assert.equal(status, 504);
  assert.equal(body.error, 'the channel is busy: its join runs');
  assert.equal(body.state, 'joining');
  const asked = answer(id);
  process.kill(pid, 'SIGKILL');
  assert.deepEqual(await asked, { status: 404, body: { error: 'no such worker' } });
});

test('a channel that ends while it is asked: 404', async (t) => {
  const { channel, id } = await victim(t, 'once:end');
  channel.send('busy', { ms: 300 });
  await channel.client.heartbeat();
  channel.send('stop');
  const asked = answer(id);
  await channel.event('phx_close');
  const { status } = await asked;
  assert.ok([200, 404].includes(status)); // the question may overtake the stop
  assert.equal((await answer(id)).status, 404);
});

test('a dump that crashes: 503, the channel is started again, no message is lost', async (t) => {
  const { channel, id, pid } = await victim(t, 'api:fatal');
  const { status, body } = await until(async () => {
    await channel.ok('state', { dump: 'die' });
    const [asked, ...echoes] = [inspect(id), channel.ok('echo', { n: 1 }), channel.ok('echo', { n: 2 })];
    const told = await asked;
    assert.deepEqual(await Promise.all(echoes), [{ n: 1 }, { n: 2 }]);
    return !isLate(told) && told;
  }, 'the crash');
  assert.equal(status, 503);
  assert.equal(body.error, 'the channel crashed; it is started again');
  await server.log(new RegExp(`api:fatal\\[${pid}\\].*last event dump`));
  assert.deepEqual((await answer(id)).body.dump, {});
});

test('of a temporary channel: 404', async (t) => {
  const { channel, id } = await victim(t, 'once:fatal');
  await channel.ok('state', { dump: 'die' });
  assert.equal((await answer(id)).status, 404);
  await channel.event('phx_error');
});

test('a large dump comes whole', async (t) => {
  const { channel, id } = await victim(t, 'api:large');
  await channel.ok('state', { dump: 'large' });
  assert.equal((await answer(id)).body.dump.text.length, 900000 - 1);
});

test('many ask at once, also for a channel that is busy', async (t) => {
  const { channel, id } = await victim(t, 'api:many');
  await channel.ok('state', { n: 7 });
  // All of them in time.
  const answers = await until(async () => {
    channel.send('busy', { ms: 300 });
    await channel.client.heartbeat();
    const all = await Promise.all(Array.from({ length: 10 }, () => inspect(id)));
    return !all.some(isLate) && all;
  }, 'ten answers');
  for (const { status, body } of answers) {
    assert.equal(status, 200);
    assert.deepEqual(body.dump, { n: 7 });
  }
});

test('more than a transport answers at once: the rest get an error, nobody hangs', async (t) => {
  const { channel, id } = await victim(t, 'api:crowd');
  let told;
  await until(async () => {
    channel.send('busy', { ms: 500 });
    await channel.client.heartbeat();
    const answers = await Promise.all(Array.from({ length: 40 }, () => inspect(id)));
    told = answers.map(({ status }) => status);
    assert.ok(answers.every((one) => one.status === 200 || isLate(one)), String(told));
    return told.filter((status) => status === 200).length >= 16;
  }, () => `16 answers: ${told}`);
  assert.equal((await answer(id)).status, 200);
});

test('a transport that is stopped: 504', async (t) => {
  const { client, channel, id } = await victim(t, 'test:stopped');
  const { transport } = await channel.pids();
  process.kill(transport, 'SIGSTOP');
  assert.deepEqual(await inspect(id), {
    status: 504, body: { id, error: "the channel's transport does not answer" },
  });
  process.kill(transport, 'SIGCONT');
  await client.heartbeat();
  assert.equal((await answer(id)).status, 200);
});

test('a transport that is killed meanwhile: 404', async (t) => {
  const { channel, id } = await victim(t, 'test:killed');
  const { transport } = await channel.pids();
  channel.send('do', { do: 'hang' });
  await channel.client.heartbeat();
  const asked = answer(id);
  process.kill(transport, 'SIGKILL');
  assert.equal((await asked).status, 404);
});

test('who asks and goes away costs nothing', async (t) => {
  const { channel, id } = await victim(t, 'api:gone');
  channel.send('busy', { ms: 500 });
  await channel.client.heartbeat();
  const before = server.workers('transport').length;
  const stop = new AbortController();
  const asked = fetch(`http://127.0.0.1:${server.port}/bennu/inspect`, {
    method: 'POST',
    headers: { 'X-Bennu-Token': server.token, 'Content-Type': 'application/json', Connection: 'close' },
    body: JSON.stringify({ id }),
    signal: stop.signal,
  });
  stop.abort();
  await assert.rejects(asked);
  assert.equal((await answer(id)).status, 200);
  await until(() => server.workers('transport').length <= before + 1, 'the asker is gone');
});

test('without its guards it is refused; only channels have a state', async (t) => {
  const { id } = await victim(t, 'api:guarded');
  for (const [status, request] of [
    [403, { headers: { 'X-Bennu-Token': '0' } }],
    [403, { headers: { Origin: 'http://evil.example' } }],
    [415, { headers: { 'Content-Type': 'text/plain' } }],
    [405, { method: 'GET' }],
    [400, { body: '{}' }],
    [400, { body: '{"id":"supervisor"}' }],
    [400, { body: '{"id":"pubsub/1"}' }],
    [400, { body: `{"id":"${id.replace('channel', 'endpoint').replace(/.\d+$/, '')}"}` }],
    [400, { body: `{"id":"${id.replace(/\d+$/, '0')}"}` }],
    [404, { body: `{"id":"${id}9"}` }],
    [404, { body: '{"id":"channel/999999/1"}' }],
  ]) {
    const { status: got, body } = await answer(id, request);
    assert.equal(got, status, JSON.stringify(request));
    assert.equal(typeof body.error, 'string');
  }
});

test('where there is no tree there is no such route', async (t) => {
  const other = await start(t, { channels: options.channels });
  const client = await other.connect();
  t.after(() => client.close());
  await client.join('api:a');
  for (const [path, method] of [['inspect', 'POST'], ['metrics', 'GET']]) {
    const response = await fetch(`http://127.0.0.1:${other.port}/bennu/${path}`, { method });
    assert.equal(response.status, 404);
    await response.text();
  }
});

test('the server ends in order while somebody asks', async () => {
  const other = await new Server(options).ready();
  const client = await other.connect();
  const channel = await client.join('api:a');
  channel.send('busy', { ms: 500 });
  await channel.client.heartbeat();
  const { id } = await whoIs('api:a', other);
  const asked = inspect(id, { to: other }).catch(() => null);
  await other.stop();
  await asked;
});
