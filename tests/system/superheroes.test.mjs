// The superheroes of the demo application: REST on sqlite, the channel that
// hears of each change, and what kill -9 does to the database.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { asan, build, start, temporary } from './lib/server.mjs';
import { until, within } from './lib/wait.mjs';
import { head, Wire } from './lib/wire.mjs';

const module = (symbol) => `${path.join(build, 'demo/superheroes.so')}:${symbol}`;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function options(directory) {
  const database = { options: { database: path.join(directory, 'heroes.db') } };
  return {
    endpoint: { module: module('api'), ...database },
    channels: {
      'superheroes:*': { module: module('superheroes'), restart: 'temporary', ...database },
    },
    directory,
  };
}

// Ends before its directory goes, and so its database.
async function begin(t) {
  const directory = temporary();
  const server = await start(t, options(directory));
  server.ownsDirectory = true;
  server.database = path.join(directory, 'heroes.db');
  return server;
}

const server = await begin({ after });

class Api {
  static async open(t, on = server) {
    const api = new Api();
    api.wire = await Wire.open(on.port);
    t.after(() => api.wire.close());
    return api;
  }

  async call(method, url, body, headers = {}) {
    const text = body === undefined ? '' : JSON.stringify(body);
    const type = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
    const answer = await this.wire.request(
      head(url, { ...(body === undefined ? {} : type), ...headers }, method) + text,
    );
    return { ...answer, json: answer.body === '' ? null : JSON.parse(answer.body) };
  }

  list = () => this.call('GET', '/api/superheroes');
  get = (id) => this.call('GET', `/api/superheroes/${id}`);
  create = (superhero) => this.call('POST', '/api/superheroes', { superhero });
  update = (id, superhero, method = 'PUT') =>
    this.call(method, `/api/superheroes/${id}`, { superhero });
  remove = (id) => this.call('DELETE', `/api/superheroes/${id}`);
}

const hero = { name: 'Ada', location: 'London', power: 90 };
const errors = (of) => ({ errors: of });
const notFound = errors({ detail: 'Not Found' });

// python3 has sqlite; it is there, since Meson needs it.
function python(code, ...args) {
  return spawn('python3', ['-c', code, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function outputOf(child) {
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  await within(new Promise((resolve) => child.once('close', resolve)), () => 'python');
  return output.trim();
}

// ---- REST ----

test('create, list, get, update, delete', async (t) => {
  const api = await Api.open(t);
  const created = await api.create(hero);
  assert.equal(created.status, 201);
  const { id } = created.json.data;
  assert.deepEqual(created.json, { data: { id, ...hero } });
  assert.equal(created.headers.location, `/api/superheroes/${id}`);
  assert.ok((await api.list()).json.data.some((h) => h.id === id));
  assert.deepEqual((await api.get(id)).json, created.json);
  const changed = { id, name: 'Ada L.', location: 'Paris', power: 91 };
  assert.deepEqual((await api.update(id, changed)).json, { data: changed });
  const patched = await api.update(id, { power: 1 }, 'PATCH');
  assert.deepEqual([patched.status, patched.json], [200, { data: { ...changed, power: 1 } }]);
  const removed = await api.remove(id);
  assert.deepEqual([removed.status, removed.body], [204, '']);
  for (const answer of [await api.get(id), await api.update(id, hero), await api.remove(id)])
    assert.deepEqual([answer.status, answer.json], [404, notFound]);
});

test('there are heroes from the start, and ids are not given twice', async (t) => {
  const api = await Api.open(t);
  const names = (await api.list()).json.data.map((h) => h.name);
  assert.ok(names.includes('Bennu') && names.includes('The Reaper'));
  const first = (await api.create(hero)).json.data.id;
  await api.remove(first);
  assert.ok((await api.create(hero)).json.data.id > first);
});

test('values that no hero has are 422', async (t) => {
  const api = await Api.open(t);
  const blank = ["can't be blank"];
  const invalid = ['is invalid'];
  const cases = [
    [{ ...hero, power: 150 }, { power: ['must be less than or equal to 100'] }],
    [{ ...hero, power: 101 }, { power: ['must be less than or equal to 100'] }],
    [{ ...hero, power: 1e300 }, { power: ['must be less than or equal to 100'] }],
    [{ ...hero, power: 0 }, { power: ['must be greater than or equal to 1'] }],
    [{ ...hero, power: -1e300 }, { power: ['must be greater than or equal to 1'] }],
    [{ ...hero, power: 1.5 }, { power: invalid }],
    [{ ...hero, power: 'x' }, { power: invalid }],
    [{ ...hero, power: '5x' }, { power: invalid }],
    [{ ...hero, power: true }, { power: invalid }],
    [{ ...hero, power: [] }, { power: invalid }],
    [{ ...hero, power: null }, { power: blank }],
    [{ name: 'Ada', power: 9 }, { location: blank }],
    [{ ...hero, name: ' \n' }, { name: blank }],
    [{ ...hero, name: 7 }, { name: invalid }],
    [{ ...hero, name: 'ü'.repeat(256) }, { name: ['should be at most 255 character(s)'] }],
    [{}, { name: blank, location: blank, power: blank }],
  ];
  for (const [value, expected] of cases) {
    const answer = await api.create(value);
    assert.deepEqual([answer.status, answer.json], [422, errors(expected)], JSON.stringify(value));
  }
  const { id } = (await api.create({ ...hero, name: 'ü'.repeat(255), power: '42' })).json.data;
  assert.equal((await api.get(id)).json.data.power, 42);
  const answer = await api.update(id, { location: '' });
  assert.deepEqual([answer.status, answer.json], [422, errors({ location: blank })]);
});

test('what is no request for a hero is 400, 404, 405, 411 or 415', async (t) => {
  const api = await Api.open(t);
  assert.equal((await api.get('x')).status, 400);
  assert.equal((await api.get('-1')).status, 400);
  assert.deepEqual((await api.get('0')).json, notFound);
  assert.equal((await api.get('9'.repeat(30))).status, 404);
  for (const body of [{}, [], { superhero: 1 }, { superhero: null }])
    assert.equal((await api.call('POST', '/api/superheroes', body)).status, 400);
  assert.equal((await api.call('POST', '/api/superheroes')).status, 411);
  const text = { 'Content-Type': 'text/plain' };
  assert.equal((await api.call('POST', '/api/superheroes', { superhero: hero }, text)).status, 415);
  const other = await api.call('DELETE', '/api/superheroes');
  assert.deepEqual([other.status, other.headers.allow], [405, 'GET, POST, HEAD, OPTIONS']);
  assert.equal((await api.wire.request(head('/api/other'))).status, 404);
});

test('what a client writes is text, never SQL', async (t) => {
  const api = await Api.open(t);
  const name = "x'); DROP TABLE superheroes; --\" \\ é ☥";
  const { id } = (await api.create({ ...hero, name })).json.data;
  assert.equal((await api.get(id)).json.data.name, name);
  assert.equal((await api.get("1'--")).status, 400);
});

test('pages of every origin may use it', async (t) => {
  const api = await Api.open(t);
  const { status, headers } = await api.call('OPTIONS', '/api/superheroes/1', undefined, {
    Origin: 'http://localhost:5173',
    'Access-Control-Request-Method': 'PUT',
  });
  assert.equal(status, 204);
  assert.equal(headers['access-control-allow-origin'], '*');
  assert.match(headers['access-control-allow-methods'], /PUT, PATCH, DELETE/);
});

test('the OpenAPI document names every route', async (t) => {
  const api = await Api.open(t);
  const { json } = await api.call('GET', '/api/openapi');
  assert.match(json.openapi, /^3\./);
  const methods = (url) =>
    Object.keys(json.paths[url]).filter((key) => key !== 'parameters').sort();
  assert.deepEqual(methods('/api/superheroes'), ['get', 'post']);
  assert.deepEqual(methods('/api/superheroes/{id}'), ['delete', 'get', 'patch', 'put']);
  const refs = JSON.stringify(json).matchAll(/"\$ref":"#\/([^"]+)"/g);
  for (const [, ref] of refs)
    assert.ok(ref.split('/').reduce((node, key) => node?.[key], json), ref);
});

// ---- the channel ----

// Acknowledges each push when it comes, as the page does, not when a test gets
// to it: there is a time for that.
function acknowledge(client) {
  client.socket.on('message', (data) => {
    const [joinRef, , topic, , { message_id }] = JSON.parse(data);
    if (message_id !== undefined)
      client.send(joinRef, topic, 'message_ack', { message_id, status: 'Received' });
  });
}

const deafSocket = async (t) => {
  const client = await server.connect();
  t.after(() => client.close());
  return client;
};
const socket = async (t) => {
  const client = await deafSocket(t);
  acknowledge(client);
  return client;
};

// The next push.
async function take(client, topic, event) {
  const [, , , , payload] = await client.event(topic, event);
  assert.match(payload.message_id, UUID);
  return payload;
}

test('a client gets all heroes, then each change', async (t) => {
  const [api, client] = [await Api.open(t), await socket(t)];
  const topic = 'superheroes:lobby';
  await client.join(topic);
  const { superheroes } = await take(client, topic, 'hydrate');
  assert.deepEqual(superheroes, (await api.list()).json.data);
  const change = async () => {
    const { data } = (await api.create(hero)).json;
    assert.deepEqual((await take(client, topic, 'create')).superhero, data);
    await api.update(data.id, { power: 5 });
    assert.deepEqual((await take(client, topic, 'update')).superhero, { ...data, power: 5 });
    await api.remove(data.id);
    return [(await take(client, topic, 'delete')).superhero, { ...data, power: 5 }];
  };
  let [deleted, expected] = await change();
  // The channel reads the table again, once. If that was just then, it saw that
  // the hero is gone before it heard of it, and knows no more than its id.
  if (deleted.name === '') [deleted, expected] = await change();
  assert.deepEqual(deleted, expected);
});

test('changes of the same microsecond and of long ago do not win', async (t) => {
  const [api, client] = [await Api.open(t), await socket(t)];
  const topic = 'superheroes:fast';
  await client.join(topic);
  await take(client, topic, 'hydrate');
  const { id } = (await api.create(hero)).json.data;
  await take(client, topic, 'create');
  // One by one: the channel reads the table again behind the join, and what it
  // finds there overtakes the news of what was before.
  for (let power = 1; power <= 20; power++) {
    await api.update(id, { power });
    assert.equal((await take(client, topic, 'update')).superhero.power, power);
  }
});

test('who acknowledges nothing gets phx_error, and all heroes with the next join', async (t) => {
  const client = await deafSocket(t);
  const topic = 'superheroes:deaf';
  const channel = await client.join(topic);
  await client.event(topic, 'hydrate');
  const [joinRef] = await client.event(topic, 'phx_error');
  assert.equal(joinRef, channel.joinRef);
  acknowledge(client);
  await client.join(topic);
  await take(client, topic, 'hydrate');
  await client.heartbeat();
});

test('what was written while a client was joining is not missed', async (t) => {
  const [api, client] = [await Api.open(t), await socket(t)];
  const topic = 'superheroes:late';
  const ids = new Set();
  const known = new Set();
  let writing = true;
  const writer = (async () => {
    while (writing) ids.add((await api.create(hero)).json.data.id);
  })();
  await client.join(topic);
  for (const h of (await take(client, topic, 'hydrate')).superheroes) known.add(h.id);
  await delay(200);
  writing = false;
  await writer;
  while ([...ids].some((id) => !known.has(id)))
    known.add((await take(client, topic, 'create')).superhero.id);
});

// ---- locks and kills ----

const HOLD = `import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()`;

test('a locked database is 503 after a while; reading goes on', async (t) => {
  const [api, other] = [await Api.open(t), await Api.open(t)];
  await api.list();
  const holder = python(HOLD, server.database);
  t.after(() => holder.kill('SIGKILL'));
  await within(new Promise((resolve) => holder.stdout.once('data', resolve)), () => 'the lock');
  const waiting = api.create(hero);
  // The lock is not let go before the end: a reader that needs it would be 503, too.
  assert.equal((await other.list()).status, 200);
  const answer = await waiting;
  assert.deepEqual(
    [answer.status, answer.headers['retry-after'], answer.json],
    [503, '1', errors({ detail: 'the database is busy' })],
  );
  holder.stdin.end();
  await outputOf(holder);
  assert.equal((await api.create(hero)).status, 201);
});

test('many who come first make one table', async (t) => {
  const fresh = await start(t, options(temporary()));
  fresh.ownsDirectory = true;
  const apis = await Promise.all(Array.from({ length: 20 }, () => Api.open(t, fresh)));
  // Where the one who makes it is slow the others hear that it is busy.
  const list = async (api) => {
    for (;;) {
      const answer = await api.list();
      if (answer.status !== 503) return answer;
    }
  };
  const answers = await within(Promise.all(apis.map(list)), () => 'all answers');
  for (const { status, json } of answers)
    assert.deepEqual([status, json?.data?.length], [200, 5]);
  for (const api of apis) api.wire.close();
});

test('a file that is no database is 500 and a line in the log', async (t) => {
  const directory = temporary();
  const of = options(directory);
  of.endpoint.options.database = '/dev/null/heroes.db';
  const broken = await start(t, of);
  broken.ownsDirectory = true;
  const api = await Api.open(t, broken);
  for (let i = 0; i < 2; i++) assert.equal((await api.list()).status, 500);
  await broken.log(/the database: \/dev\/null\/heroes\.db: unable to open/);
  api.wire.close();
});

const CHECK = `import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute("PRAGMA integrity_check").fetchone()[0])`;

// A sanitizer makes each restart many times as long.
const KILLS = asan ? 200 : 1000;
const WRITERS = 6;

// Creates heroes, changes and deletes some, on a connection of its own, and
// remembers what may have become of each.
class Writer {
  constructor(api, transport) {
    this.api = api;
    this.transport = transport; // its pid
    this.heroes = new Map(); // id: the powers it may have; undefined: it is gone
    this.failures = 0;
    this.ripe = false; // its endpoint has done something
    this.kills = 0;
  }

  async write(n) {
    const power = 1 + (n % 100);
    const made = await this.answer(this.api.create({ ...hero, power }), 201);
    if (made === null) return;
    const { id } = made.json.data;
    this.heroes.set(id, [power]);
    if (n % 3 === 1) await this.change(id, [100], this.api.update(id, { power: 100 }), 200);
    else if (n % 3 === 2) await this.change(id, [undefined], this.api.remove(id), 204);
  }

  // Without an answer both may be true.
  async change(id, after, answer, status) {
    const before = this.heroes.get(id);
    this.heroes.set(id, [...before, ...after]);
    if ((await this.answer(answer, status)) !== null) this.heroes.set(id, after);
  }

  // What was asked before a kill says nothing of the endpoint that is there now.
  async answer(promise, expected) {
    const { kills } = this;
    const answer = await promise;
    this.ripe = answer.status === expected && this.kills === kills;
    if (answer.status === expected) return answer;
    if (answer.status === 503) return null; // the lock was held for too long
    assert.equal(answer.status, 500);
    this.failures++;
    return null;
  }

  // kill -9 of its endpoint; false: there is none at the moment.
  kill() {
    const pid = Number(children(this.transport)[0]);
    if (!this.ripe || !pid) return false;
    this.ripe = false;
    this.kills++;
    process.kill(pid, 'SIGKILL');
    return true;
  }
}

const children = (pid) => {
  try {
    return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ');
  } catch {
    return [];
  }
};

async function openWriter(t, on) {
  const api = await Api.open(t, on);
  await api.list();
  const port = `:${api.wire.socket.localPort}`;
  return new Writer(api, on.workers('transport').find((p) => p.title.endsWith(port)).pid);
}

// Each write to the log of the database, whoever's it is, is the moment to kill
// the next writer: in the middle of its own commit, before, behind it, waiting.
function killAtWrites(t, on, writers) {
  const killed = { n: 0 };
  let next = 0;
  const watcher = fs.watch(path.dirname(on.database), (_, file) => {
    if (file !== 'heroes.db-wal' || killed.n >= KILLS) return;
    const victim = writers[next++ % writers.length];
    if (victim.kill()) killed.n++;
  });
  t.after(() => watcher.close());
  return killed;
}

test(`${KILLS} times kill -9 of who writes: nothing that was answered is missing`, async (t) => {
  const on = await begin(t);
  const writers = await Promise.all(Array.from({ length: WRITERS }, () => openWriter(t, on)));
  const killed = killAtWrites(t, on, writers);
  await Promise.all(
    writers.map(async (writer, i) => {
      for (let n = i; killed.n < KILLS; n++) await writer.write(n);
    }),
  );
  // The last ones may have had no request in hand, and are heard of later.
  const deaths = () => on.count(/child_terminated: endpoint.*killed/);
  await until(() => deaths() >= KILLS, () => `${deaths()} deaths`);
  assert.equal(deaths(), KILLS);
  const api = await Api.open(t, on);
  const found = new Map((await api.list()).json.data.map((h) => [h.id, h.power]));
  const sum = { stored: 0, deleted: 0, unknown: 0, failed: 0 };
  for (const writer of writers) {
    sum.failed += writer.failures;
    for (const [id, may] of writer.heroes) {
      assert.ok(may.includes(found.get(id)), `hero ${id}: ${found.get(id)} is none of ${may}`);
      sum[may.length > 1 ? 'unknown' : may[0] === undefined ? 'deleted' : 'stored']++;
    }
    writer.api.wire.close();
  }
  api.wire.close();
  assert.equal(await outputOf(python(CHECK, on.database)), 'ok');
  await until(() => on.workers('endpoint').length === 0, 'the end of all endpoints');
  t.diagnostic(JSON.stringify(sum));
  assert.ok(sum.failed > KILLS / 4, 'few kills came while a request was in hand');
  assert.ok(sum.stored + sum.deleted > KILLS / 4);
});
