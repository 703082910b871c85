// The supervisor: listeners, limits, systemd, users, its run directory, and how
// it says what is wrong with its configuration.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Client } from './lib/client.mjs';
import { describe, descriptors, listenInode } from './lib/procs.mjs';
import { asan, bySignal, configuration, modules, Server, start, temporary } from './lib/server.mjs';
import { Inbox, until, within } from './lib/wait.mjs';
import { head, Wire } from './lib/wire.mjs';

const root = process.getuid() === 0;
// Supervisor, pubsub and transports are not dumpable.
const notRoot = !root && 'only root sees their descriptors';
const ipv6 = Object.values(os.networkInterfaces()).flat().some((i) => i.address === '::1');

// None that the kernel gives to whoever asks for any: else somebody has it
// before we use it, or between two uses.
const [lowest] = fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/);

const isFree = (port) =>
  new Promise((resolve) => {
    const probe = net.createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });

async function freePort() {
  for (;;) {
    const port = randomInt(1024, Number(lowest));
    if (await isFree(port)) return port;
  }
}

const ask = async (to) => {
  const wire = await Wire.open(to);
  const response = await wire.request(head('/', { Host: 'localhost' }));
  wire.close();
  return response.status;
};

// ---- listeners ----

test('several listeners at once: IPv4, IPv6, unix', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const file = path.join(directory, 'http.sock');
  const listen = ['127.0.0.1:0', `unix:${file}`, ...(ipv6 ? ['[::1]:0'] : [])];
  const server = await start(t, { server: { listen } });
  await server.log(/listening on unix:/);
  assert.equal(await ask(server.port), 404);
  assert.equal(await ask({ path: file }), 404);
  assert.equal(fs.statSync(file).mode & 0o777, 0o666);
  if (ipv6) {
    const [, port] = await server.log(/listening on http:\/\/\[::1\]:(\d+)/);
    assert.equal(await ask({ host: '::1', port: Number(port) }), 404);
    const client = await Client.open(`ws://[::1]:${port}/socket/websocket?vsn=2.0.0`);
    await (await client.join('test:a')).ok('echo');
    await client.close();
  }
  const client = await Client.open(`ws+unix:${file}:/socket/websocket?vsn=2.0.0`);
  const { transport } = await (await client.join('test:a')).pids();
  assert.match(describe(transport).title, /unix/);
  await client.close();
});

test('the socket file of a dead server is replaced, that of a live one is not', async () => {
  const directory = temporary();
  const text = configuration({ server: { listen: [`unix:${directory}/http.sock`] } });
  const first = new Server({ directory, text });
  await first.log(/listening on unix:/);
  const second = new Server({ text });
  await second.log(/http\.sock/);
  await second.ends(11);
  assert.equal(await ask({ path: `${directory}/http.sock` }), 404);
  await first.kill();
  await first.isGone();
  assert.ok(fs.existsSync(`${directory}/http.sock`));
  const third = new Server({ directory, text });
  await third.log(/listening on unix:/);
  assert.equal(await ask({ path: `${directory}/http.sock` }), 404);
  await third.stop();
  assert.ok(!fs.existsSync(`${directory}/http.sock`), 'the socket file stays behind');
  fs.rmSync(directory, { recursive: true });
});

test('a port that is taken: exit 11, and it says so', async () => {
  const port = await freePort();
  const first = await new Server({ args: ['-p', String(port)] }).ready();
  assert.equal(first.port, port);
  const second = new Server({ args: ['-p', String(port)] });
  await second.log(new RegExp(`127.0.0.1:${port}.*in use`));
  await second.ends(11);
  assert.equal(await ask(port), 404);
  await first.stop();
});

test('options: bind and port', async (t) => {
  const server = await start(t, { args: ['-b', '127.0.0.2', '-p', '0'] });
  assert.equal(server.host, '127.0.0.2');
  assert.equal(await ask({ host: '127.0.0.2', port: server.port }), 404);
});

test('a port is free again at once', async () => {
  const port = await freePort();
  for (let i = 0; i < 3; i++) {
    const server = await new Server({ args: ['-p', String(port)] }).ready();
    const client = await server.connect();
    await client.join('test:a');
    await server.stop();
  }
});

// ---- the run directory ----

test('one supervisor for a run directory', async () => {
  const directory = temporary();
  const first = await new Server({ directory }).ready();
  const second = new Server({ directory });
  await second.log(/another supervisor runs in .*run; stop it, or name another run directory with -r/);
  await second.ends(11);
  await (await first.connect()).heartbeat();
  assert.equal(fs.statSync(first.run).mode & 0o777, 0o700);
  assert.equal(fs.statSync(path.join(first.run, 'pubsub-1.sock')).mode & 0o777, 0o600);
  await first.stop();
  fs.rmSync(directory, { recursive: true });
});

test('a run directory that is a link, a file, too long', async () => {
  const directory = temporary();
  fs.mkdirSync(path.join(directory, 'other'));
  fs.symlinkSync(path.join(directory, 'other'), path.join(directory, 'run'));
  const link = new Server({ directory });
  await link.log(/run directory .* is not ours/);
  await link.ends(11);
  fs.unlinkSync(path.join(directory, 'run'));
  fs.writeFileSync(path.join(directory, 'run'), '');
  const file = new Server({ directory });
  await file.log(/run directory/);
  await file.ends(11);
  const long = new Server({ args: ['-r', `/tmp/${'x'.repeat(100)}`] });
  await long.log(/the path is too long for sockets/);
  await long.ends(11);
  fs.rmSync(directory, { recursive: true });
});

// ---- limits ----

// Connections that are held: each has sent half a request.
async function hold(server, n) {
  const wires = [];
  for (let i = 0; i < n; i++) {
    const wire = await Wire.open(server.port);
    await wire.write('GET / HTTP/1.1\r\n');
    wires.push(wire);
  }
  return wires;
}

for (const [key, limits] of [
  ['max_connections', { max_connections: 5 }],
  ['max_connections_per_address', { max_connections_per_address: 5 }],
])
  test(`${key}: one more gets 503, and a place that is free is given away`, async (t) => {
    const server = await start(t, { server: { ...limits, head_timeout: '10min' } });
    const wires = await hold(server, 5);
    await server.settles({ transport: 5 });
    for (let i = 0; i < 3; i++) {
      const wire = await Wire.open(server.port);
      const response = await wire.request(head('/'));
      assert.deepEqual([response.status, response.headers['retry-after']], [503, '1']);
      await wire.untilEnd();
      wire.close();
    }
    if (key === 'max_connections_per_address')
      assert.equal(await ask({ host: '127.0.0.1', localAddress: '127.0.0.9', port: server.port }), 404);
    wires.pop().close();
    await server.settles({ transport: 4 });
    assert.equal(await ask(server.port), 404);
    for (const wire of wires) wire.close();
    await server.settles({});
    assert.equal(await ask(server.port), 404);
  });

test('an address whose transports crash waits', async (t) => {
  const server = await start(t, {
    server: { crash_limit: 3, crash_period: asan ? '20s' : '8s' }, // three deaths fit
    env: bySignal,
  });
  for (let i = 0; i < 3; i++) {
    const client = await server.connect();
    const { transport } = await (await client.join('test:a')).pids();
    process.kill(transport, 'SIGSEGV');
    await client.end();
    await until(() => describe(transport) === null, 'its end');
  }
  assert.equal(await ask(server.port), 503);
  assert.equal(await ask({ host: '127.0.0.1', localAddress: '127.0.0.9', port: server.port }), 404);
  await until(async () => (await ask(server.port)) === 404, 'the end of the period');
});

test('kill -9 of transports is no crash of an address', async (t) => {
  const server = await start(t, { server: { crash_limit: 1 } });
  for (let i = 0; i < 3; i++) {
    const client = await server.connect();
    const { transport } = await (await client.join('test:a')).pids();
    process.kill(transport, 'SIGKILL');
    await client.end();
  }
  assert.equal(await ask(server.port), 404);
});

// ---- descriptors ----

test('the supervisor holds as many descriptors with 200 connections as with none', { skip: notRoot }, async (t) => {
  const server = await start(t, { server: { head_timeout: '10min' } });
  const before = Object.keys(descriptors(server.pid)).length;
  const wires = await hold(server, 200);
  await server.settles({ transport: 200 });
  // It closes what it gave to the last one behind the fork.
  const count = () => Object.keys(descriptors(server.pid)).length;
  const asBefore = () => until(() => count() === before, () => `${count()}, not ${before}`);
  await asBefore();
  for (const wire of wires) wire.close();
  await server.settles({});
  await asBefore();
});

const limited = (soft, hard) => ['prlimit', `--nofile=${soft}:${hard}`];
const reckons = { BENNU_SERVER_PUBSUB_WORKERS: '0' };

test('too few files for max_connections: the log names what to change', async (t) => {
  const few = { wrap: limited(200, 200), pubsub: 3 };
  const server = await start(t, { ...few, server: { max_connections: 151 } });
  await server.log(
    /3 pubsub workers .* about 150 connections and max_connections is 151: .* from 300 on they wait; .*RLIMIT_NOFILE.*server\.pubsub_workers.*server\.max_connections/,
  );
  const enough = await start(t, { ...few, server: { max_connections: 150 } });
  assert.equal(enough.count(/RLIMIT_NOFILE/), 0);
});

test('there are as many pubsub workers as max_connections needs', async (t) => {
  const cores = Math.min(15, os.availableParallelism()); // 16 workers are the most
  const needs = { server: { max_connections: 100 * cores + 1 }, env: reckons };
  const many = await start(t, { ...needs, wrap: limited(300, 300), pubsub: cores + 1 });
  await many.settles({});
  // What it may raise its limit to is what counts.
  const usual = await start(t, { ...needs, wrap: limited(300, 4096), pubsub: cores });
  await usual.settles({});
  for (const server of [many, usual]) assert.equal(server.count(/RLIMIT_NOFILE/), 0);
});

test('workers have the descriptors that they need, and no others', { skip: notRoot }, async (t) => {
  const pages = temporary();
  t.after(() => fs.rmSync(pages, { recursive: true }));
  const server = await start(t, { endpoint: { static: pages } });
  const clients = await Promise.all([1, 2, 3].map(() => server.connect()));
  const channels = [];
  for (const client of clients)
    for (const topic of ['test:a', 'test:b']) channels.push(await client.join(topic));
  const { channel, transport } = await channels.at(-1).pids();
  const listening = `socket:[${listenInode(server.port)}]`;
  // Beside the standard ones.
  const own = (pid) => Object.entries(descriptors(pid)).filter(([fd]) => Number(fd) > 2);
  const sockets = (pid) => own(pid).map(([, what]) => what).filter((what) => what.startsWith('socket:'));

  assert.ok(sockets(server.pid).includes(listening));
  assert.deepEqual(Object.keys(descriptors(channel)), ['0', '1', '2', '3']);
  assert.equal(sockets(channel).length, 1);
  // The client, requests to the supervisor, pubsub, two channels.
  assert.equal(sockets(transport).length, 5, JSON.stringify(descriptors(transport)));
  for (const worker of server.processes()) {
    if (worker.pid === server.pid) continue;
    const all = Object.values(descriptors(worker.pid));
    assert.ok(!all.includes(listening), worker.title);
    assert.ok(!all.some((d) => d.includes('/run/')), JSON.stringify(all));
    assert.equal(all.includes(pages), worker.comm === 'transport', worker.title);
  }
  // A client's connection is held by its transport, and its pubsub worker.
  const owners = () => server.processes().filter((p) => sockets(p.pid).includes(descriptors(transport)[3]));
  const names = () => owners().map((p) => p.comm).sort().join();
  await until(() => names() === 'pubsub,transport', names);
  assert.ok(owners().some((p) => p.pid === transport));
  assert.equal(descriptors(channel)[0], '/dev/null');
});

test('a thousand connections, one after the other, leave nothing', { skip: asan && 'too slow' }, async (t) => {
  const server = await start(t);
  for (let i = 0; i < 50; i++)
    await Promise.all(Array.from({ length: 20 }, () => ask(server.port)));
  await server.settles({});
});

// ---- systemd ----

// What is sent to a unix datagram socket.
async function datagrams(t, file) {
  const child = spawn(path.join(modules, 'datagrams'), [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const inbox = new Inbox();
  child.stdout.setEncoding('utf8').on('data', (data) => {
    for (const line of data.split('\n')) if (line !== '') inbox.add(line);
  });
  await inbox.take((line) => line === 'bound', 'the socket');
  return inbox;
}

test('systemd hears READY=1 and STOPPING=1', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const file = path.join(directory, 'notify');
  const told = await datagrams(t, file);
  const server = await new Server({ env: { NOTIFY_SOCKET: file } }).ready();
  await told.take((line) => line === 'READY=1', 'READY=1');
  const client = await server.connect();
  await client.join('test:a');
  await server.stop();
  await told.take((line) => line === 'STOPPING=1', 'STOPPING=1');
});

// sh makes LISTEN_PID what it must be, and becomes the server.
const activated = (n) => ['sh', '-c', `LISTEN_PID=$$ LISTEN_FDS=${n} exec "$@"`, 'sh'];

const listening = (to) =>
  new Promise((resolve) => {
    const socket = net.createServer().listen(to, () => resolve(socket));
  });

test('sockets that systemd opened take the place of the configured ones', async (t) => {
  const directory = temporary();
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const file = path.join(directory, 'http.sock');
  const tcp = await listening({ port: 0, host: '127.0.0.1' });
  const unix = await listening({ path: file });
  const { port } = tcp.address();
  const server = new Server({
    wrap: activated(2),
    stdio: [tcp._handle.fd, unix._handle.fd],
    server: { listen: ['127.0.0.1:1'] },
  });
  t.after(() => server.stop());
  await server.ready();
  assert.equal(server.port, port);
  tcp.close();
  // A close removes the file: not this one, which has to stay.
  fs.renameSync(file, `${file}.kept`);
  await new Promise((resolve) => unix.close(resolve));
  fs.renameSync(`${file}.kept`, file);
  assert.equal(await ask(port), 404);
  assert.equal(await ask({ path: file }), 404);
  const client = await server.connect();
  await (await client.join('test:a')).ok('echo');
  const { transport, channel } = await (await client.join('test:b')).pids();
  const inode = `socket:[${listenInode(port)}]`;
  for (const pid of root ? [transport, channel] : [channel]) {
    assert.ok(!Object.values(descriptors(pid)).includes(inode));
    assert.doesNotMatch(fs.readFileSync(`/proc/${pid}/environ`, 'latin1'), /LISTEN_/);
  }
});

test('sockets of systemd for another process are not ours', async (t) => {
  const server = await start(t, { env: { LISTEN_PID: '1', LISTEN_FDS: '3' } });
  assert.equal(await ask(server.port), 404);
});

test('a descriptor of systemd that is no listening socket', async () => {
  const server = new Server({ wrap: activated(1), stdio: ['pipe'] });
  const { code } = await within(server.exited, () => 'its end');
  assert.ok([1, 11].includes(code));
  assert.ok(server.lines.length > 0);
  await server.isGone();
  server.removeDirectory();
});

// ---- users ----

test('root becomes `user` when the sockets are open', { skip: !root && 'only root can' }, async (t) => {
  const server = await start(t, { server: { user: 'nobody' }, endpoint: { tree: 'true' } });
  await server.log(/running as user nobody/);
  const client = await server.connect();
  const channel = await client.join('test:a');
  await channel.ok('broadcast');
  await channel.event('news');
  await channel.call('do', { do: 'kill' });
  await channel.ok('echo');
  for (const { pid, title } of server.processes()) {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
    const [, uid] = /^Uid:\t(.*)$/m.exec(status);
    const [, gid] = /^Gid:\t(.*)$/m.exec(status);
    assert.match(uid, /^([1-9]\d*)\t\1\t\1\t\1$/, title);
    assert.match(gid, /^([1-9]\d*)\t\1\t\1\t\1$/, title);
    assert.match(status, /^CapEff:\t0+$/m, title);
  }
  const uid = fs.statSync(server.run).uid;
  assert.notEqual(uid, 0);
  for (const file of fs.readdirSync(server.run)) {
    const stat = fs.statSync(path.join(server.run, file));
    assert.ok(stat.uid === uid || file === 'lock', file);
    assert.equal(stat.mode & 0o077, 0, file);
  }
});

test('a user that does not exist: exit 11', { skip: !root && 'only root can' }, async () => {
  const server = new Server({ server: { user: 'nobody-at-all' } });
  await server.log(/user 'nobody-at-all' does not exist; create it or change server.user/);
  await server.ends(11);
});

// ---- configuration ----

const socketBlock = (inner) => `socket "/socket" {\n${inner}\n}\n`;

for (const [name, text, pattern] of [
  ['an unknown key', 'server {\n lisen = {"127.0.0.1:0"}\n}\n', /bennu\.conf:2: no key or section 'lisen' in server; did you mean 'listen'\?/],
  ['an unknown section', 'servr {\n}\n', /bennu\.conf:1: .*servr/],
  ['a bad number', 'server {\n\n max_connections = many\n}\n', /bennu\.conf:3: max_connections 'many'/],
  ['a bad time', 'server {\n send_timeout = 15\n}\n', /bennu\.conf:2: send_timeout '15'/],
  ['a bad address', 'server {\n listen = {"nowhere"}\n}\n', /bennu\.conf:2: listen 'nowhere'/],
  ['a key given twice', 'server {\n head_max = 2k\n head_max = 3k\n}\n', /bennu\.conf:[23]: .* is given twice/],
  ['a section that does not end', 'server {\n', /bennu\.conf:/],
  ['no module', socketBlock('channel "a" {\n}'), /bennu\.conf:\d+: .*module/],
  ['a module that is not there', socketBlock('channel "a" { module = "none.so:x" }'), /bennu\.conf:2: module none\.so:x: .*none\.so/],
  ['a channel that is not in its module', socketBlock('channel "a" { module = "systest.so:none" }'), /bennu\.conf:2: module .*systest\.so has no channel 'none'; define it with BENNU_CHANNEL\(none\)/],
  ['a module for another Bennu', socketBlock('channel "a" { module = "systest.so:old" }'), /bennu\.conf:2: module systest\.so:old was built for ABI \d+, this is \d+; build it again/],
])
  test(`${name}: exit 11, with file and line`, async () => {
    const server = new Server({ text });
    await server.log(pattern);
    await server.ends(11);
    assert.equal(server.lines.length, 1, server.logText);
  });

test('a configuration that is not there', async () => {
  const server = new Server({ args: ['-c', '/nonexistent/bennu.conf'] });
  await server.log(/\/nonexistent\/bennu\.conf/);
  await server.ends(11);
});

test('pages that are not there', async () => {
  const server = new Server({ endpoint: { static: '/nonexistent/pages' } });
  await server.log(/endpoint\.static \/nonexistent\/pages.*No such file/);
  await server.ends(11);
});

for (const [args, code, pattern] of [
  [['-t'], 0, /the configuration is fine/],
  [['-V'], 0, /^bennu \d+\.\d+\.\d+\n$/],
  [['-h'], 0, /^usage: /],
  [['extra'], 11, null],
  [['--nonsense'], 11, null],
])
  test(`${args} ends with ${code}`, async () => {
    const server = new Server({ args });
    await server.ends(code);
    if (pattern) assert.match(server.output, pattern);
    else assert.match(server.logText, /usage: /);
  });

test('the environment counts more than the file, the command line more than that', async (t) => {
  const port = await freePort();
  const server = await start(t, { env: { PORT: String(port), BENNU_SERVER_MAX_CONNECTIONS: '1', BENNU_SERVER_HEAD_TIMEOUT: '10min' } });
  assert.equal(server.port, port);
  const [wire] = await hold(server, 1);
  await server.settles({ transport: 1 });
  assert.equal(await ask(port), 503);
  wire.close();
});
