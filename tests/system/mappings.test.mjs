// What processes have in common: descriptors, shared memory, secrets, as the
// kernel lists them. Each that ARCHITECTURE.md allows is named here; any other
// fails.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { key } from './lib/phoenix-token.mjs';
import { describe, descriptors } from './lib/procs.mjs';
import { build, start, temporary } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import { head, upgradeHead, Wire } from './lib/wire.mjs';

const root = process.getuid() === 0;
const demo = (name) => path.join(build, 'demo', name);
const fixture = (name) => path.join(build, 'tests/fixture', name);

const BROADCAST_TOKEN = randomBytes(24).toString('base64');
const SECRET = randomBytes(60).toString('base64'); // of tokens; 80 characters

// With all that an application brings along: the modules of the demo, of the
// fixture and of these tests.
function everything(directory) {
  const database = { options: { database: path.join(directory, 'heroes.db') } };
  fs.mkdirSync(path.join(directory, 'pages'));
  fs.writeFileSync(path.join(directory, 'broadcast.token'), `${BROADCAST_TOKEN}\n`, { mode: 0o600 });
  fs.writeFileSync(path.join(directory, 'secret'), SECRET, { mode: 0o600 });
  return {
    directory,
    server: { max_connections: 1000, head_timeout: '10min' },
    socket: { module: 'connect.so:user_socket', idle_timeout: '1h' },
    channels: {
      'test:*': {},
      'api:*': { module: 'api.so:api' },
      'room:*': { module: demo('demo.so:room') },
      'superheroes:*': { module: demo('superheroes.so:superheroes'), ...database },
      'fixture:*': { module: fixture('fixture.so:room') },
      'token:*': { module: 'token.so:channel' },
    },
    endpoint: {
      module: demo('superheroes.so:api'),
      ...database,
      static: path.join(directory, 'pages'),
      tree: 'true',
      broadcast_token_file: 'broadcast.token',
      secret_file: 'secret',
    },
  };
}

const CHANNELS = ['test:a', 'room:lobby', 'superheroes:all', 'fixture:a', 'api:1'];
const TASKS = 2; // of the first api:1

// Else the channel ends.
async function acknowledge(client, topic) {
  const [joinRef, , , , { message_id }] = await client.event(topic, 'hydrate');
  client.send(joinRef, topic, 'message_ack', { message_id, status: 'Received' });
}

// A server with processes of each role: two sockets, a connection with an
// endpoint.
async function family(t) {
  const directory = temporary();
  const server = await start(t, everything(directory));
  server.ownsDirectory = true;
  const clients = [await server.connect(), await server.connect()];
  for (const client of clients) {
    t.after(() => client.socket.terminate());
    for (const topic of CHANNELS) client.channel = await client.join(topic);
    await acknowledge(client, 'superheroes:all');
  }
  await clients[0].channel.ok('tasks', { n: TASKS, how: 'wait' });
  await until(() => server.workers('task').length === TASKS, 'the tasks');
  const wire = await Wire.open(server.port);
  t.after(() => wire.close());
  assert.equal((await wire.request(head('/api/superheroes'))).status, 200);
  return { server, wire };
}

// What the kernel says of a process may be root's business: see the last test.
const skip = !root && 'only root sees into processes that are not dumpable';

// ---- descriptors ----

// { inode: kind } of the sockets of this machine.
function socketKinds() {
  const kinds = {};
  const lines = (file) => fs.readFileSync(`/proc/net/${file}`, 'latin1').trim().split('\n').slice(1);
  for (const line of lines('unix')) {
    const [, , , flags, type, , inode] = line.split(/\s+/);
    const listens = (parseInt(flags, 16) & 0x10000) !== 0;
    kinds[inode] = `unix${type === '0005' ? ' seqpacket' : ''}${listens ? ' listening' : ''}`;
  }
  for (const line of [...lines('tcp'), ...lines('tcp6')]) {
    const fields = line.trim().split(/\s+/);
    kinds[fields[9]] = fields[3] === '0A' ? 'tcp listening' : 'tcp';
  }
  return kinds;
}

// Beside the standard ones, which are the supervisor's: [{ what, kind, pid }].
function ownDescriptors(server, pid, kinds, ours) {
  const { 0: input, 1: output, 2: errors, ...own } = descriptors(pid);
  const first = descriptors(server.pid);
  assert.deepEqual([input, output, errors], ['/dev/null', first[1], first[2]]);
  const kind = (what) =>
    kinds[/^socket:\[(\d+)\]$/.exec(what)?.[1]] ??
    what
      .replace(/^anon_inode:\[(\w+)\]$/, '$1')
      .replace(/^pipe:.*/, 'pipe')
      .replace(`${server.directory}/`, '');
  return Object.values(own)
    .filter((what) => what.startsWith('anon_inode:') || !ours.has(what)) // what whoever started the tests left open
    .map((what) => ({ what, kind: kind(what), pid }));
}

function tally(things) {
  const sum = {};
  for (const { kind } of things) sum[kind] = (sum[kind] ?? 0) + 1;
  return sum;
}

const loop = { eventpoll: 1 };
const log = '/memfd:presence (deleted)'; // presence/log.h
const reaper = { signalfd: 1, pipe: 2 };
const allowed = {
  // Requests: both ends. Mailboxes of pubsub, presence and connect, and where they listen.
  supervisor: {
    [log]: 2,
    'tcp listening': 1, pages: 1, 'run/lock': 1, 'unix seqpacket': 2, unix: 4, 'unix listening': 4, ...loop, ...reaper,
    pipe: 4, // one is of the event base that transports are born with
  },
  // The supervisor and one transport, whose client's socket it has; nanomsg's,
  // for the other worker and the tap.
  pubsub: { 'unix listening': 1 + 2, unix: 2 + 2, tcp: 1, eventfd: 4, ...loop, ...reaper, eventpoll: 2 },
  // The supervisor; nobody has tracked anything.
  presence: { [log]: 2, 'unix listening': 1, unix: 1, ...loop, ...reaper },
  connect: { 'unix listening': 1, unix: 1, ...loop, ...reaper },
  // The client, requests to the supervisor, pubsub, and the channels.
  transport: { tcp: 1, 'unix seqpacket': 1, pages: 1, unix: 1 + CHANNELS.length, signalfd: 1 },
  // No channel, so no pubsub.
  'transport of an endpoint': { tcp: 1, 'unix seqpacket': 1, pages: 1, unix: 1, signalfd: 1 },
  channel: { unix: 1 },
  'channel with tasks': { unix: 1, pipe: TASKS },
  task: { pipe: 1 },
  // The database is the application's own.
  endpoint: { unix: 1, 'heroes.db': 1, 'heroes.db-wal': 1, 'heroes.db-shm': 1 },
};

// A process as the tables call it.
function nameOf(worker, all) {
  const children = all.filter((p) => p.ppid === worker.pid).map((p) => p.comm);
  if (worker.comm === 'transport' && children.includes('endpoint')) return 'transport of an endpoint';
  if (worker.comm === 'channel' && children.includes('task')) return 'channel with tasks';
  return worker.comm;
}

// Who may hold one thing together, as sorted names.
function isShared(kind, holders, all) {
  const roles = [...new Set(holders.map((p) => p.comm))].sort().join();
  switch (kind) {
    case 'pages':
    case 'unix seqpacket':
      return roles === 'supervisor,transport' && holders.length === 1 + all.filter((p) => p.comm === 'transport').length;
    case 'tcp':
      return roles === 'pubsub,transport' && holders.length === 2;
    case 'unix listening':
      return ['pubsub,supervisor', 'connect,supervisor', 'presence,supervisor'].includes(roles) && holders.length === 2;
    case log:
      return roles === 'presence,supervisor' && holders.length === 2;
    case 'pipe':
      return roles === 'channel,task' && holders.length === 2 && holders.some((p) => p.ppid === holders.find((q) => q !== p).pid);
    default:
      return false;
  }
}

function lookAtDescriptors(server) {
  const all = server.processes();
  const kinds = socketKinds();
  const ours = new Set(Object.values(descriptors('self')));
  const holders = new Map();
  for (const worker of all) {
    const own = ownDescriptors(server, worker.pid, kinds, ours);
    assert.deepEqual(tally(own), allowed[nameOf(worker, all)], worker.title);
    for (const { what, kind } of own) {
      if (/^(signalfd|eventpoll|eventfd)$/.test(kind)) continue; // they have no name
      if (!holders.has(what)) holders.set(what, { kind, by: new Set() });
      holders.get(what).by.add(worker);
    }
  }
  for (const [what, { kind, by }] of holders)
    if (by.size > 1)
      assert.ok(isShared(kind, [...by], all), `${kind} ${what}: ${[...by].map((p) => p.title)}`);
}

test('descriptors: those that a role needs, and nobody else has them', { skip }, async (t) => {
  const { server } = await family(t);
  // What has been closed at one end may still be open at the other, and pubsub
  // workers connect to each other when they like: what is not right becomes so.
  let wrong;
  const isRight = () => {
    try {
      lookAtDescriptors(server);
      return true;
    } catch (error) {
      wrong = error;
      return false;
    }
  };
  await until(isRight, '').catch(() => {
    throw wrong;
  });
});

// ---- shared memory ----

// [{ from, to, mode, inode, file }]
function mappings(pid) {
  return fs
    .readFileSync(`/proc/${pid}/maps`, 'latin1')
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) (\S+) (\S+) (\S+) (\d+) *(.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, from, to, mode, offset, device, inode, file]) => ({
      from: Number(`0x${from}`),
      to: Number(`0x${to}`),
      mode,
      offset,
      object: `${device}:${inode}`,
      file,
    }));
}

test('shared memory: what pubsub workers share, lanes, the counters, readiness, a page of an endpoint, what the application maps', { skip }, async (t) => {
  const { server } = await family(t);
  const shared = new Map();
  for (const worker of server.processes())
    for (const { from, to, mode, object, offset, file } of mappings(worker.pid)) {
      if (!mode.endsWith('s')) continue;
      if (!shared.has(object)) shared.set(object, { file, by: [] });
      shared.get(object).by.push({ comm: worker.comm, size: to - from, mode, offset });
    }
  const whole = ({ comm, size, mode }) => `${comm} ${size} ${mode}`;
  const found = [...shared.values()].map(({ file, by }) => [
    file.replace(`${server.directory}/`, ''), ...by.map(whole).sort(),
  ]);
  const anonymous = '/dev/zero (deleted)';
  const slots = 1064; // max_connections, and some on their way out
  const workers = (size) => [`pubsub ${size} rw-s`, `pubsub ${size} rw-s`, `supervisor ${size} rw-s`];
  const lanes = [...shared.values()].find(({ by }) => by.some(({ comm, size }) => comm === 'pubsub' && size === slots * 4096));
  assert.deepEqual(
    found.map((object) => object.join(' ')).sort(),
    [
      ['heroes.db-shm', 'endpoint 32768 rw-s'], // sqlite's
      [anonymous, 'endpoint 4096 rw-s', 'transport 4096 rw-s'], // transport/endpoint.c: has the handler begun?
      [anonymous, 'supervisor 73728 rw-s', ...Array(3).fill('transport 73728 rw-s')], // common/stats.c, with `tree`
      // common/page.h: readiness, and keys of tokens.
      ...['ready', 'token_keys'].map((name) => [
        `/memfd:${name} (deleted)`, 'supervisor 4096 r--s', 'supervisor 4096 rw-s', ...Array(3).fill('transport 4096 r--s'),
      ]),
      // pubsub/shared.h; of a journal, its worker alone writes.
      ...[0, 1].map(() => [
        '/memfd:journal (deleted)',
        ...['pubsub 67108864 r--s', 'pubsub 67108864 rw-s', 'pubsub 75501568 r--s', 'pubsub 75501568 rw-s'],
        ...['supervisor 67108864 rw-s', 'supervisor 75501568 rw-s'], // twice, end to end
      ]),
      [anonymous, 'presence 454656 r--s', ...workers(454_656)] /* slots.h */,
      [anonymous, ...workers(532_480)] /* progress, interest */,
      [anonymous, ...workers(slots * 4096), ...Array(3).fill('transport 4096 rw-s')],
    ].map((object) => object.join(' ')).sort(),
  );
  // No transport has the lane of another.
  const own = lanes.by.filter(({ comm }) => comm === 'transport').map(({ offset }) => offset);
  assert.equal(new Set(own).size, own.length);
});

// ---- secrets ----

const CHUNK = 1 << 20;
const MOST = 2 ** 30; // what is larger is a sanitizer's bookkeeping

// Whether one of the secrets lies in the memory of a process: { file, at }.
function findInMemory(pid, secrets) {
  const overlap = Math.max(...secrets.map((secret) => secret.length)) - 1;
  const buffer = Buffer.alloc(CHUNK + overlap);
  const fd = fs.openSync(`/proc/${pid}/mem`, 'r');
  let read = 0;
  try {
    for (const { from, to, mode, file } of mappings(pid)) {
      if (!mode.startsWith('r') || to - from > MOST || /^\[v/.test(file)) continue;
      for (let at = from; at < to; at += CHUNK) {
        let n;
        try {
          n = fs.readSync(fd, buffer, 0, Math.min(buffer.length, to - at), at);
        } catch {
          break; // it is gone
        }
        read += n;
        const data = buffer.subarray(0, n);
        if (secrets.some((secret) => data.includes(secret))) return { file, at, mode };
      }
    }
  } finally {
    fs.closeSync(fd);
  }
  assert.ok(read > 100_000, `only ${read} bytes of ${pid} could be read`);
  return null;
}

const secretsOf = (server) => [
  Buffer.from(server.token), Buffer.from(server.token, 'hex'), Buffer.from(BROADCAST_TOKEN),
  Buffer.from(SECRET), key(SECRET, 'bennu longpoll'), key(SECRET, 'mine'),
];
const AUTHORS = ['channel', 'task', 'endpoint', 'connect']; // they run its code
const WITHOUT = ['pubsub', ...AUTHORS]; // nor has this one any need of them

test('no secret lies in the memory of who runs the code of an application', { skip }, async (t) => {
  const { server, wire } = await family(t);
  const secrets = secretsOf(server);
  assert.match(server.token, /^[0-9a-f]{32}$/);
  const client = await server.connect();
  t.after(() => client.socket.terminate());
  const channel = await client.join('token:1');
  await channel.ok('sign', { salt: 'mine', data: '1' });
  await client.join('token:forked behind it');
  // Each is found where it is.
  for (const secret of [secrets[0], ...secrets.slice(2)]) {
    assert.notEqual(findInMemory(server.pid, [secret]), null);
    assert.notEqual(findInMemory(server.workers('transport')[0].pid, [secret]), null);
  }
  for (const role of WITHOUT) {
    const workers = server.workers(role);
    assert.ok(workers.length > 0);
    for (const { pid, title } of workers) assert.equal(findInMemory(pid, secrets), null, title);
  }
  wire.close();
});

// What its client sends lies in the memory of a transport, and of those that it
// forks.
const kill = (server, more = {}) => {
  const body = '{"id":"channel/4711/1"}';
  return (
    head('/bennu/kill', {
      Host: `127.0.0.1:${server.port}`,
      'X-Bennu-Token': server.token,
      'Content-Type': 'application/json',
      'Content-Length': body.length,
      ...more,
    }, 'POST') + body
  );
};

for (const [what, next] of [
  ['a request of an endpoint', head('/api/superheroes')],
  ['a socket', upgradeHead()],
])
  test(`nothing is forked behind a token that a client shows: ${what}`, async (t) => {
    const { server } = await family(t);
    const wire = await Wire.open(server.port);
    t.after(() => wire.close());
    await wire.write(kill(server) + next);
    const answer = await wire.response();
    assert.deepEqual([answer.status, answer.headers.connection], [404, 'close']);
    assert.equal((await wire.untilEnd()).length, 0);
  });

// ---- who may look ----

test('who holds a secret or speaks for all is not dumpable: nobody but root looks into it', async (t) => {
  const directory = temporary();
  const server = await start(t, {
    directory,
    server: root ? { user: 'nobody' } : {},
    socket: { module: 'connect.so:user_socket' },
    endpoint: { module: 'endpoint.so:plain', tree: 'true' },
  });
  server.ownsDirectory = true;
  const client = await server.connect();
  t.after(() => client.socket.terminate());
  const channel = await client.join('test:a');
  const wire = await Wire.open(server.port);
  t.after(() => wire.close());
  assert.equal((await wire.request(head('/about'))).status, 200);
  const uid = fs.statSync(path.join(server.run, 'token')).uid;
  assert.notEqual(uid, 0);
  // The files of a process that is not dumpable are root's.
  const owner = (role) =>
    server.processes().filter((p) => p.comm === role).map((p) => fs.statSync(`/proc/${p.pid}/mem`).uid);
  assert.deepEqual(
    ['supervisor', 'pubsub', 'presence', 'transport', 'channel', 'endpoint', 'connect'].map((role) => [role, ...owner(role)]),
    [
      ['supervisor', 0], ['pubsub', 0, 0], ['presence', 0], ['transport', 0, 0],
      ['channel', uid], ['endpoint', uid], ['connect', uid],
    ],
  );
  // The page that shows them reads what is open to all.
  const tree = await Wire.open(server.port);
  t.after(() => tree.close());
  const { supervisor } = JSON.parse((await tree.request(head('/bennu/tree'))).body);
  const flat = (node) => [node, ...node.children.flatMap(flat)];
  assert.deepEqual(
    flat(supervisor).map((node) => node.role).sort(),
    ['channel', 'connect', 'endpoint', 'presence', 'pubsub', 'pubsub', 'supervisor', 'transport', 'transport', 'transport'],
  );
  await channel.ok('echo');
  assert.equal(describe(server.pid).comm, 'supervisor');
});
