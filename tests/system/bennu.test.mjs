// The command: broadcasts from outside, and what a tap shows of all of them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { describe } from './lib/procs.mjs';
import { build, Server, start, temporary } from './lib/server.mjs';
import { Inbox, until, within } from './lib/wait.mjs';

const program = path.join(build, 'supervisor/bennu');

// A process of it. Lines of both outputs come by inboxes.
class Bennu {
  constructor(args, options = {}) {
    this.child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PORT: '' },
      ...options,
    });
    this.out = this.#lines(this.child.stdout);
    this.err = this.#lines(this.child.stderr);
    this.exited = new Promise((resolve) =>
      this.child.once('close', (code, signal) => resolve({ code, signal })),
    );
  }

  #lines(stream) {
    const inbox = new Inbox();
    let rest = '';
    inbox.text = '';
    stream.setEncoding('utf8').on('data', (data) => {
      inbox.text += data;
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      for (const line of lines) inbox.add(line);
    });
    stream.once('end', () => inbox.close('the end of the output'));
    return inbox;
  }

  async ends(status) {
    const end = await within(this.exited, () => 'the end of bennu');
    assert.deepEqual(end, { code: status, signal: null }, this.err.text);
    return this;
  }
}

const run = (args, status, options) => new Bennu(args, options).ends(status);

async function subscribe(t, server, topic) {
  const bennu = new Bennu(['-r', server.run, 'subscribe', topic]);
  t.after(() => bennu.child.kill('SIGKILL'));
  await bennu.err.take((line) => line === 'bennu: listening', 'listening');
  return bennu;
}

const next = async (bennu) => JSON.parse(await bennu.out.take(() => true, 'a line'));

test('a broadcast comes to clients and taps', async (t) => {
  const server = await start(t);
  const clients = [await server.connect(), await server.connect()];
  for (const client of clients) {
    t.after(() => client.socket.terminate());
    await client.join('test:a');
  }
  const one = await subscribe(t, server, 'test:a');
  const all = await subscribe(t, server, 'test:*');
  const other = await subscribe(t, server, 'test:b');
  const payload = { text: 'häß\n', n: 12345678901234567890n.toString() };
  await run(['-r', server.run, 'broadcast', 'test:a', 'news', ` ${JSON.stringify(payload, null, 2)} `], 0);
  for (const client of clients)
    assert.deepEqual((await client.event('test:a', 'news'))[4], payload);
  for (const bennu of [one, all]) {
    const { topic, event, payload: seen } = await next(bennu);
    assert.deepEqual({ topic, event, seen }, { topic: 'test:a', event: 'news', seen: payload });
  }
  await run(['-r', server.run, 'broadcast', 'test:b', 'more', '-1'], 0);
  assert.equal((await next(other)).payload, -1);
  assert.equal((await next(all)).topic, 'test:b');
  one.child.kill('SIGINT');
  await one.ends(0);
  assert.equal(one.out.text.split('\n').length, 2);
  assert.doesNotMatch(one.err.text, /missed/);
});

test('it shows what clients broadcast, of all workers', async (t) => {
  const server = await start(t, { pubsub: 2 });
  const bennu = await subscribe(t, server, 'test:x');
  for (let i = 0; i < 4; i++) {
    const client = await server.connect();
    t.after(() => client.socket.terminate());
    const channel = await client.join('test:x');
    await channel.ok('broadcast', { event: 'hi', payload: { i } });
    const { event, payload } = await next(bennu);
    assert.deepEqual({ event, payload }, { event: 'hi', payload: { i } });
  }
});

test('it goes on when a worker is killed, and ends with the server', async (t) => {
  const server = await start(t, { pubsub: 1 });
  const bennu = await subscribe(t, server, 'a:b');
  const [{ pid }] = server.workers('pubsub');
  process.kill(pid, 'SIGKILL');
  // The successor's connection waits in the backlog meanwhile.
  await run(['-r', server.run, 'broadcast', 'a:b', 'e', '1'], 0);
  // What is sent while a tap comes back is missed; it is said, or it comes.
  await until(async () => {
    await run(['-r', server.run, 'broadcast', 'a:b', 'e', '2'], 0);
    return bennu.out.text.includes('"payload":2');
  }, 'the tap again');
  server.child.kill('SIGTERM');
  await bennu.ends(0);
  assert.match(bennu.err.text, /the server has ended/);
});

test('its output is closed', async (t) => {
  const server = await start(t);
  const bennu = await subscribe(t, server, 'a:b');
  bennu.child.stdout.destroy();
  await run(['-r', server.run, 'broadcast', 'a:b', 'e', '1'], 0);
  await bennu.ends(0);
});

test('a worker dies before it has heard of it', async (t) => {
  const server = await start(t, { pubsub: 1 });
  const tap = await subscribe(t, server, 'a:b');
  const [{ pid }] = server.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  const bennu = new Bennu(['-r', server.run, 'broadcast', 'a:b', 'e', '1']);
  await until(() => fs.readdirSync(`/proc/${bennu.child.pid}/fd`).length > 3, 'its socket');
  process.kill(pid, 'SIGKILL');
  await bennu.ends(0);
  assert.equal(tap.child.exitCode, null);
});

test('a worker dies before it has accepted it', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const fake = net.createServer((socket) => socket.once('data', () => socket.destroy()));
  await new Promise((resolve) => fake.listen(path.join(directory, 'pubsub-1.sock'), resolve));
  t.after(() => fake.close());
  const { err } = await run(['-r', directory, 'broadcast', 'a:b', 'e', '1'], 3);
  assert.match(err.text, /worker ended: whether .* unknown/);
});

test('a worker that does not answer', async (t) => {
  const server = await start(t, { pubsub: 1 });
  const [{ pid }] = server.workers('pubsub');
  process.kill(pid, 'SIGSTOP');
  const bennu = new Bennu(['-r', server.run, 'broadcast', 'a:b', 'e', '1']);
  await bennu.ends(3);
  assert.match(bennu.err.text, /no answer in 10 s: whether .* unknown/);
  process.kill(pid, 'SIGCONT');
});

test('errors', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const fails = async (args, status, pattern, options) => {
    const { err } = await run(args, status, options);
    assert.match(err.text, pattern);
  };
  const r = ['-r', directory];
  await fails([...r, 'broadcast', 'a:b', 'e', '{}'], 1, /no server runs in/);
  await fails([...r, 'subscribe', 'a:b'], 1, /no server runs in/);
  await fails([...r, 'broadcast', 'a:b', 'e', '{a:1}'], 2, /is no JSON/);
  await fails([...r, 'broadcast', 'a:b', 'e', '{} {}'], 2, /is no JSON/);
  await fails([...r, 'broadcast', 'a:b', 'e', ''], 2, /is no JSON/);
  await fails([...r, 'broadcast', '', 'e', '{}'], 2, /the topic is empty/);
  await fails([...r, 'broadcast', 'a', '', '{}'], 2, /the event is empty/);
  await fails([...r, 'subscribe', ''], 2, /the topic is empty/);
  await fails([...r, 'broadcast', 'a:b', 'e'], 2, /usage/);
  await fails([...r, 'shout'], 2, /usage/);
  await fails(r, 2, /usage/);
  await fails(['-p', 'x', 'subscribe', 'a'], 2, /no port/);
  await fails(['-p', '0', 'subscribe', 'a'], 2, /port is 0/);
  await fails(['-c', path.join(directory, 'none.conf'), 'subscribe', 'a'], 2, /none\.conf/);
  const { out } = await run(['-h'], 0);
  assert.match(out.text, /usage/);
});

test('another user may not', { skip: process.getuid() !== 0 && 'only root is another user' }, async (t) => {
  const server = await start(t);
  const { err } = await run(['-r', server.run, 'broadcast', 'a:b', 'e', '1'], 1, { uid: 65534, gid: 65534 });
  assert.match(err.text, /pubsub-1\.sock: Permission denied/);
});

test('it finds the server by its port', async (t) => {
  const runtime = temporary();
  t.after(() => fs.rmSync(runtime, { recursive: true }));
  const directory = path.join(runtime, 'bennu-4711');
  const server = await start(t, { args: ['-r', directory] });
  const env = { ...process.env, PORT: '', XDG_RUNTIME_DIR: runtime };
  await run(['-p', '4711', 'broadcast', 'a:b', 'e', '1'], 0, { env });
  await run(['broadcast', 'a:b', 'e', '1'], 0, { env: { ...env, PORT: '4711' } });
  assert.ok(server.port > 0);
  const none = await run(['broadcast', 'a:b', 'e', '1'], 1, { env });
  assert.match(none.err.text, /bennu-4000/);
});

// ---- inspect ----

const looked = { channels: { 'api:*': { module: 'api.so:api' }, 'test:*': { shutdown: '500ms' } }, endpoint: { tree: 'true' } };

// { status, out: the objects, err }
async function inspect(server, ...names) {
  const bennu = new Bennu(['-r', server.run, 'inspect', ...names]);
  const { code } = await within(bennu.exited, () => 'the end of bennu');
  const out = bennu.out.text.split('\n').slice(0, -1).map((line) => JSON.parse(line));
  return { status: code, out, err: bennu.err.text };
}

test('inspect prints what channels are doing', async (t) => {
  const server = await start(t, looked);
  const clients = [await server.connect(), await server.connect()];
  for (const client of clients) t.after(() => client.socket.terminate());
  const state = { list: [1, { a: null }], text: 'ü"\n' };
  await (await clients[0].join('api:one')).ok('state', state);
  await clients[1].join('api:one');
  await clients[1].join('api:two');
  await clients[1].join('test:plain');
  const ids = new Map(
    server.workers('channel').map(({ title }) => {
      const [, connection, number, topic] = /#(\d+)\.(\d+) (\S+)/.exec(title);
      return [`${topic} ${connection}`, `channel/${connection}/${number}`];
    }),
  );
  const all = [...ids.values()].sort();
  const of = (prefix) => [...ids].filter(([name]) => name.startsWith(prefix)).map(([, id]) => id).sort();
  const sorted = ({ out }) => out.map(({ id }) => id).sort();
  // A machine may be too busy for the limits of an inspection.
  const answers = (...names) => until(async () => {
    const answer = await inspect(server, ...names);
    return !/did not answer/.test(answer.err) && answer;
  }, `an answer for ${names}`);
  for (const [names, expected] of [
    [[], all],
    [['*'], all],
    [['api:*'], of('api:')],
    [['api:one'], of('api:one ')],
    [['api:two', 'test:plain'], [...of('api:two '), ...of('test:')].sort()],
    [[all[0]], [all[0]]],
    [[all[0].replace('channel/', '#').replace('/', '.')], [all[0]]],
  ]) {
    const answer = await answers(...names);
    assert.deepEqual([answer.status, answer.err, sorted(answer)], [0, '', expected], String(names));
  }
  const { out } = await answers('api:one');
  const dumps = out.map(({ topic, dump }) => [topic, dump]).sort();
  assert.deepEqual(dumps.filter(([, dump]) => dump.text !== undefined), [['api:one', state]]);
  assert.equal(dumps.length, 2);
});

test('inspect of what is not there, or does not answer', async (t) => {
  const server = await start(t, looked);
  assert.deepEqual(await inspect(server), { status: 0, out: [], err: '' });
  const client = await server.connect();
  t.after(() => client.socket.terminate());
  const channel = await client.join('test:a');
  for (const name of ['channel/1/99', 'channel/99/1', '#1.99', 'test:b', 'test:b*', '', 'channel/1/1x', '#1'])
    assert.deepEqual(
      await inspect(server, name),
      name.startsWith('#1.')
        ? { status: 1, out: [], err: 'bennu: channel/1/99: there is no such channel\n' }
        : { status: 1, out: [], err: `bennu: ${name}: there is no such channel\n` },
    );
  // The others are shown nevertheless.
  const both = await inspect(server, 'test:b', 'test:a');
  assert.deepEqual([both.status, both.out.length], [1, 1]);
  channel.send('do', { do: 'hang' });
  await client.heartbeat(); // the channel has it before the question
  const hung = await until(async () => {
    const told = await inspect(server, 'test:a');
    return told.out[0]?.error === 'the channel is busy' && told;
  }, 'that the channel is busy');
  assert.equal(hung.status, 1);
  assert.deepEqual([hung.out[0].topic, hung.out[0].error], ['test:a', 'the channel is busy']);
  assert.match(hung.err, /^bennu: channel\/\d+\/\d+: it did not answer\n$/);
});

test('inspect goes on behind a transport that does not answer', async (t) => {
  const server = await start(t, looked);
  const clients = await Promise.all([1, 2, 3].map(() => server.connect()));
  const channels = await Promise.all(clients.map((client) => client.join('test:a')));
  const pids = await Promise.all(channels.map(async (channel) => (await channel.pids()).transport));
  process.kill(pids[1], 'SIGSTOP');
  // Others may be late, too.
  const { status, out } = await until(async () => {
    const told = await inspect(server);
    return told.out.filter(({ error }) => error === undefined).length === 2 && told;
  }, 'those of the others');
  assert.equal(status, 1);
  assert.equal(out.length, 3);
  const [lost] = out.filter(({ error }) => error !== undefined);
  const { title } = describe(pids[1]);
  assert.deepEqual(lost, {
    id: `channel/${/#(\d+)/.exec(title)[1]}/1`,
    error: "the channel's transport does not answer",
  });
  process.kill(pids[1], 'SIGCONT');
});

test('inspect needs a server with a tree', async (t) => {
  const server = await start(t);
  const { status, err } = await inspect(server);
  assert.equal(status, 1);
  assert.match(err, /no server runs in .*, or it has no endpoint\.tree/);
});

test('inspect behind a server that was killed', async (t) => {
  const server = new Server(looked);
  t.after(() => server.removeDirectory());
  await server.ready();
  await server.kill();
  await server.isGone();
  const { status, err } = await inspect(server);
  assert.equal(status, 1);
  assert.match(err, /^bennu: no server runs in /);
});

test('inspect of a server that dies over the answer', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  let answer;
  const fake = net.createServer((socket) => socket.once('data', () => socket.end(answer)));
  await new Promise((resolve) => fake.listen(0, '127.0.0.1', resolve));
  t.after(() => fake.close());
  fs.writeFileSync(path.join(directory, 'address'), `127.0.0.1:${fake.address().port}`);
  fs.writeFileSync(path.join(directory, 'token'), 'x');
  const args = ['-r', directory, 'inspect', 'channel/1/1'];
  for (const [text, status] of [
    ['Content-Length: 9\r\n\r\n{"id":"a"', 0],
    ['Content-Length: 10\r\n\r\n{"id":"a"', 1],
    ['Content-Length: 10\r\n\r\n', 1],
    ['\r\n{"id":"a"', 1],
    ['Content-Le', 1],
    ['', 1],
  ]) {
    answer = `HTTP/1.1 200 OK\r\n${text}`;
    const { out } = await run(args, status);
    assert.equal(out.text, status === 0 ? '{"id":"a"\n' : '', text);
  }
});

test('inspect over every sort of listener', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  for (const listen of ['0.0.0.0:0', '[::1]:0', '[::]:0', `unix:${path.join(directory, 'http.sock')}`]) {
    const server = new Server({ ...looked, server: { listen: [listen] } });
    await server.log(/listening on/);
    assert.deepEqual(await inspect(server), { status: 0, out: [], err: '' }, listen);
    await server.stop();
  }
});
