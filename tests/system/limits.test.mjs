// What a client may not do, as bennu.conf says, each limit named in the log.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Channel, CRASHED, UNMATCHED } from './lib/client.mjs';
import { asan, start } from './lib/server.mjs';
import { within } from './lib/wait.mjs';
import { BINARY, frame, head, takeClose, TEXT, upgraded, Wire } from './lib/wire.mjs';

const server = await start({ after }, {
  socket: {
    control_rate: 20,
    event_rate: 50,
    join_rate: 5,
    message_timeout: '300ms',
    max_fragments: 10,
  },
});

// Each join costs a fork: a slow machine makes few of them in a second.
const slow = await start({ after }, { socket: { join_rate: 1 } });
const hasty = await start({ after }, { server: { head_timeout: '500ms' } });
const tight = await start({ after }, {
  server: { head_max: '1k', headers_max: 10, body_max: '1k' },
  socket: { max_frame: 2000, max_message: 1000, max_fragments: 10 },
});
const UNJOINED = asan ? 4000 : 2000; // long enough for a join to come
const unjoined = await start({ after }, {
  socket: { unjoined_timeout: `${UNJOINED}ms`, max_channels: 1, join_timeout: '1min' },
});

const join = (n) => ['1', String(n), `test:limit${n}`, 'phx_join', {}];

test('more pings in a second than control_rate: 1008', async () => {
  const client = await server.connect();
  for (let i = 0; i < 100; i++) client.socket.ping();
  assert.equal((await client.end()).code, 1008);
  await server.log(/more than 20 in a second \(control_rate\)/);
});

test('more messages than event_rate: 1008', async () => {
  const client = await server.connect();
  for (let i = 0; i < 200; i++) client.send(null, 'phoenix', 'heartbeat');
  assert.equal((await client.end()).code, 1008);
  await server.log(/more than 50 in a second \(event_rate\)/);
});

test('more joins than join_rate: 1008', async () => {
  const client = await slow.connect();
  for (let i = 0; i < 20; i++) client.frame(join(i));
  assert.equal((await client.end()).code, 1008);
  await slow.log(/more than 1 in a second \(join_rate\)/);
});

test('as many as allowed are served', async () => {
  const client = await server.connect();
  for (let i = 0; i < 3; i++) await client.join(`test:few${i}`);
  for (let i = 0; i < 15; i++) client.socket.ping();
  for (let i = 0; i < 20; i++) await client.heartbeat();
  await client.close();
});

// An upgraded connection of which every byte is ours.
async function rawSocket() {
  const socket = net.connect(server.port, '127.0.0.1');
  socket.write(
    `GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\n` +
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  let bytes = Buffer.alloc(0);
  const closed = new Promise((resolve) => {
    socket.on('data', (data) => {
      bytes = Buffer.concat([bytes, data]);
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(bytes));
  });
  return { socket, closed };
}

// The code of the Close frame that the bytes end with.
const closeCode = (bytes) => {
  assert.equal(bytes[bytes.length - 4], 0x88);
  return bytes.readUInt16BE(bytes.length - 2);
};

test('a message that is not whole in message_timeout, however it drips: 1008', async () => {
  const { socket, closed } = await rawSocket();
  const drip = setInterval(() => socket.write(Buffer.from([0x00, 0x80, 0, 0, 0, 0])), 50);
  socket.write(Buffer.from([0x01, 0x80, 0, 0, 0, 0]));
  try {
    assert.ok([1008, 1009].includes(closeCode(await within(closed, () => 'the close'))));
  } finally {
    clearInterval(drip);
  }
});

test('a frame of which the rest never comes: 1008', async () => {
  const { socket, closed } = await rawSocket();
  socket.write(Buffer.from([0x81, 0xfe, 0x01]));
  assert.equal(closeCode(await within(closed, () => 'the close')), 1008);
  await server.log(/closed: a message was not whole in 300 ms \(message_timeout\)/);
});

test('more frames of one message than max_fragments: 1009', async () => {
  const { socket, closed } = await rawSocket();
  const next = Array(20).fill(Buffer.from([0x00, 0x80, 0, 0, 0, 0]));
  socket.write(Buffer.concat([Buffer.from([0x01, 0x80, 0, 0, 0, 0]), ...next])); // within message_timeout
  assert.equal(closeCode(await within(closed, () => 'the close')), 1009);
});

for (const [name, bytes] of [
  ['max_frame', [frame(BINARY, '', { length: 2001 })]],
  ['max_message', [frame(TEXT, 'x'.repeat(600), { fin: false }), frame(0, 'x'.repeat(401))]],
  ['max_fragments', [frame(TEXT, '', { fin: false }), ...Array(10).fill(frame(0, '', { fin: false }))]],
])
  test(`beyond ${name}: 1009`, async (t) => {
    const wire = await upgraded(tight.port);
    t.after(() => wire.close());
    await wire.write(Buffer.concat(bytes));
    assert.equal(await takeClose(wire), 1009);
    await tight.log(new RegExp(`closed: a message is beyond its limit \\(${name}\\)`));
  });

for (const [name, status, text, on = tight] of [
  ['head_max', 431, head('/', { X: 'x'.repeat(1000) })],
  ['head_max', 414, head(`/${'x'.repeat(1000)}`)],
  ['headers_max', 431, head('/', Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`X-${i}`, 'y'])))],
  ['body_max', 413, head('/', { 'Content-Length': '1001' }, 'POST')],
  ['body_max', 413, `${head('/', { 'Transfer-Encoding': 'chunked' }, 'POST')}3e9\r\n`],
  ['head_timeout', 408, 'GET / HT', hasty],
  ['head_timeout', 408, head('/', { 'Content-Length': '10' }, 'POST'), hasty],
])
  test(`beyond ${name}: ${status}`, async (t) => {
    const wire = await Wire.open(on.port);
    t.after(() => wire.close());
    const answer = await wire.request(text);
    assert.deepEqual([answer.status, answer.headers.connection], [status, 'close']);
    await wire.untilEnd();
    await on.log(new RegExp(`refused: ${status} .* \\(${name}\\)`));
  });

// ---- a socket that joins nothing ----

// Heartbeats, until it is closed or the time is up.
async function beat(client, ms) {
  const until = performance.now() + ms;
  let open = true;
  client.closed.then(() => {
    open = false;
  });
  while (open && performance.now() < until) {
    await Promise.race([client.heartbeat(), client.closed]).catch(() => {});
    await delay(20);
  }
  return open;
}

async function closedUnjoined(client, began) {
  assert.equal((await client.end()).code, 1008);
  assert.ok(performance.now() - began >= UNJOINED);
  await unjoined.log(new RegExp(`closed: nothing was joined in ${UNJOINED} ms \\(unjoined_timeout\\)`));
}

test('a socket that joins nothing in unjoined_timeout, heartbeats or not: 1008', async () => {
  const began = performance.now();
  const [quiet, busy] = await Promise.all([unjoined.connect(), unjoined.connect()]);
  assert.equal(await beat(busy, 60_000), false);
  await closedUnjoined(busy, began);
  await closedUnjoined(quiet, began);
});

test('a join that is refused is none', async () => {
  const began = performance.now();
  const client = await unjoined.connect();
  assert.deepEqual(await new Channel(client, 'other').joined(), UNMATCHED);
  assert.equal((await new Channel(client, 'test:a', { refuse: true }).joined()).status, 'error');
  await closedUnjoined(client, began);
});

test('who has joined once stays, also when the join took longer, or is left', async () => {
  const [left, slow] = await Promise.all([unjoined.connect(), unjoined.connect()]);
  await (await left.join('test:a')).leave();
  const joining = slow.join('test:b', { join: { do: 'sleep', ms: UNJOINED * 1.5 } });
  assert.equal(await beat(left, UNJOINED * 2), true);
  await (await joining).ok('echo');
  assert.equal(await beat(slow, UNJOINED * 2), true);
  assert.deepEqual(await new Channel(slow, 'test:c').joined(), {
    status: 'error',
    response: { reason: 'too many channels joined' },
  });
  await left.close();
  await slow.close();
});

test('a join that takes longer and is refused: 1008', async () => {
  const client = await unjoined.connect();
  const channel = new Channel(client, 'test:a', {
    join: { do: 'sleep', ms: UNJOINED * 1.5 },
    refuse: true,
  });
  assert.equal((await channel.joined()).status, 'error');
  assert.equal((await client.end()).code, 1008);
});

test('the server is as before', async () => {
  const client = await server.connect();
  const channel = await client.join('test:after');
  assert.notDeepEqual(await channel.call('about'), CRASHED);
  await client.close();
});
