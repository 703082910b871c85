// GET /bennu/metrics: what the application and Bennu itself count.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';

const server = await start({ after }, {
  socket: { module: 'connect.so:user_socket' },
  channels: {
    'api:*': { module: 'api.so:api', intensity: 100, period: '10s' },
    'once:*': { module: 'api.so:api', restart: 'temporary' },
    'test:*': {},
  },
  endpoint: { tree: 'true', module: 'endpoint.so:plain' },
});

const url = `http://127.0.0.1:${server.port}/bennu/metrics`;

// { name or name{labels}: number }
async function metrics() {
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  const text = await response.text();
  const all = {};
  for (const line of text.split('\n').slice(0, -1)) {
    assert.match(line, /^(# TYPE [a-zA-Z_]\w* (counter|histogram)|[a-zA-Z_]\w*(\{le="[^"]+"\})? \S+)$/);
    if (line.startsWith('#')) continue;
    const at = line.lastIndexOf(' ');
    assert.ok(!(line.slice(0, at) in all), `${line} twice`);
    all[line.slice(0, at)] = Number(line.slice(at + 1));
  }
  return all;
}

// A callback's words leave when it has returned: until they are all there.
const has = (expected) =>
  until(
    async () => {
      const all = await metrics();
      return Object.entries(expected).every(([name, n]) => all[name] === n);
    },
    JSON.stringify(expected),
  );

async function join(t, topic, params) {
  const client = await server.connect();
  t.after(() => client.close());
  return client.join(topic, params);
}

test('channels count and observe, over all connections', async (t) => {
  const channels = await Promise.all([1, 2, 3].map((n) => join(t, `api:${n}`)));
  for (const channel of channels)
    await channel.ok('metrics', { count: { visits_total: 2 }, observe: { delay: 0.1875 } });
  await channels[0].ok('metrics', { count: { visits_total: 5 }, observe: { delay: 50000 } });
  await has({
    visits_total: 11, delay_count: 4, delay_sum: 50000.5625,
    'delay_bucket{le="0.1"}': 0, 'delay_bucket{le="0.25"}': 3,
    'delay_bucket{le="10000"}': 3, 'delay_bucket{le="+Inf"}': 4,
  });
  // The next test counts from here: nothing of this one may come later.
  for (const channel of channels) await channel.leave();
  await has({ connects_total: 3, terminated_total: 3 });
});

test('connect and handlers count, too; a join that refuses, and terminate', async (t) => {
  const before = await metrics();
  const client = await server.connect();
  const response = await fetch(`http://127.0.0.1:${server.port}/metrics`);
  assert.equal(response.status, 204);
  const channel = await join(t, 'api:terminate');
  client.send('1', 'api:refused', 'phx_join', { join: 'refuse' }, '1');
  assert.equal((await client.reply('1')).status, 'error');
  await channel.leave();
  const n = (name) => before[name] ?? 0;
  await has({
    connects_total: n('connects_total') + 2,
    requests_total: 1, request_size_count: 1,
    refused_total: 1, terminated_total: n('terminated_total') + 1,
  });
  await client.close();
});

test('what a callback counts is lost when it crashes', async (t) => {
  const channel = await join(t, 'api:crash');
  await channel.ok('metrics', { count: { kept_total: 1 } });
  assert.equal((await channel.call('crash')).status, 'error');
  await channel.ok('metrics', { count: { kept_total: 1 } });
  await has({ kept_total: 2 });
  assert.ok(!('lost_total' in (await metrics())));
});

test("Bennu's own: connections, joins, crashes, restarts", async (t) => {
  const before = await metrics();
  const transient = await join(t, 'api:own');
  const temporary = await join(t, 'once:own');
  await transient.call('crash');
  temporary.send('crash');
  await temporary.event('phx_error');
  const client = await server.connect();
  t.after(() => client.close());
  client.send('1', 'api:refused', 'phx_join', { join: 'refuse' }, '1');
  await client.reply('1');
  client.send('2', 'test:crash', 'phx_join', { join: { do: 'kill' } }, '2');
  assert.deepEqual((await client.reply('2')).response, { reason: 'join crashed' });
  await transient.ok('echo');
  const now = await metrics();
  const more = (name) => now[`bennu_${name}_total`] - before[`bennu_${name}_total`];
  assert.equal(more('joins'), 2);
  assert.equal(more('joins_refused'), 1);
  assert.equal(more('joins_crashed'), 1);
  assert.equal(more('channel_crashes'), 2);
  assert.equal(more('channel_restarts'), 1);
  // The supervisor counts one that it has forked, whatever that has done by then.
  const connections = 'bennu_connections_total';
  await until(async () => (await metrics())[connections] - before[connections] >= 3, 'three connections');
});

test('a mistake in a name is a crash of the channel that makes it', async (t) => {
  const channel = await join(t, 'api:mistake');
  for (const name of ['', 'no-name', '9', 'bennu_joins_total', 'a_count', 'ü', 'x'.repeat(65)])
    assert.equal((await channel.call('metrics', { count: { [name]: 1 } })).status, 'error', name);
  assert.equal((await channel.call('metrics', { count: { both: 1 }, observe: { both: 1 } })).status, 'error');
  await server.log(/api\.so:api: bennu_count: no-name: no name for a metric/);
  await channel.ok('metrics', { count: { ['x'.repeat(64)]: 1 } });
  await has({ ['x'.repeat(64)]: 1 });
});

test('it is for GET and HEAD', async () => {
  assert.equal((await fetch(url, { method: 'HEAD' })).status, 200);
  const response = await fetch(url, { method: 'POST' });
  assert.equal(response.status, 405);
  assert.equal(response.headers.get('allow'), 'GET, HEAD');
  await response.text();
});

// Last: the names are used up.
test('what has one name too many is dropped and counted; the others go on', async (t) => {
  const channel = await join(t, 'api:many');
  const names = Array.from({ length: 256 }, (_, i) => `many_${i}`);
  await channel.ok('metrics', { count: Object.fromEntries(names.map((name) => [name, 1])) });
  await until(async () => (await metrics()).bennu_metrics_dropped_total > 0, 'some are dropped');
  await channel.ok('metrics', { count: { many_0: 1, visits_total: 1 } });
  await has({ many_0: 2 });
});
