// What a client may not do, as bennu.conf says, each limit named in the log.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, test } from 'node:test';
import { CRASHED } from './lib/client.mjs';
import { start } from './lib/server.mjs';
import { within } from './lib/wait.mjs';

const server = await start({ after }, {
  socket: {
    control_rate: 20,
    event_rate: 50,
    join_rate: 5,
    message_timeout: '300ms',
    max_fragments: 10,
  },
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
  const client = await server.connect();
  for (let i = 0; i < 20; i++) client.frame(join(i));
  assert.equal((await client.end()).code, 1008);
  await server.log(/more than 5 in a second \(join_rate\)/);
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
});

test('more frames of one message than max_fragments: 1009', async () => {
  const { socket, closed } = await rawSocket();
  socket.write(Buffer.from([0x01, 0x80, 0, 0, 0, 0]));
  for (let i = 0; i < 20; i++) socket.write(Buffer.from([0x00, 0x80, 0, 0, 0, 0]));
  assert.equal(closeCode(await within(closed, () => 'the close')), 1009);
});

test('the server is as before', async () => {
  const client = await server.connect();
  const channel = await client.join('test:after');
  assert.notDeepEqual(await channel.call('about'), CRASHED);
  await client.close();
});
