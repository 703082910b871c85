// The opening of a WebSocket and its rules (PROTOCOL.md 1 and 5).
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Client } from './lib/client.mjs';
import { start } from './lib/server.mjs';
import { DEADLINE, until, within } from './lib/wait.mjs';
import {
  BINARY, CLOSE, frame, head, PING, PONG, takeClose, takeFrame, TEXT, upgraded, upgradeHead, Wire,
} from './lib/wire.mjs';

const server = await start({ after }, {
  socket: { max_frame: 20_000, max_message: 10_000 },
});
// Also who is slow sends something before it is over.
const IDLE = 4000; // ms
const strict = await start({ after }, {
  socket: {
    check_origin: ['https://app.example.com', '//*.wild.example', '//port.example:8080', '//127.0.0.1'],
    idle_timeout: `${IDLE}ms`,
  },
});

const HEARTBEAT = JSON.stringify([null, '1', 'phoenix', 'heartbeat', {}]);
const ANSWER = JSON.stringify([null, '1', 'phoenix', 'phx_reply', { status: 'ok', response: {} }]);

const socket = async (t, to = server) => {
  const wire = await upgraded(to.port);
  t.after(() => wire.close());
  return wire;
};

const alive = async (wire) => {
  await wire.write(frame(TEXT, HEARTBEAT));
  assert.equal((await takeFrame(wire)).payload.toString(), ANSWER);
};

// ---- opening ----

// The answer to a request that should open a socket.
async function open(t, text, to = server) {
  const wire = await Wire.open(to.port);
  t.after(() => wire.close());
  return wire.request(text);
}

test('101 as RFC 6455 says', async (t) => {
  const key = 'dGhlIHNhbXBsZSBub25jZQ==';
  const { status, headers } = await open(t, upgradeHead({ 'Sec-WebSocket-Key': key }));
  assert.equal(status, 101);
  assert.equal(headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  assert.equal(headers.upgrade.toLowerCase(), 'websocket');
  assert.equal(headers.connection.toLowerCase(), 'upgrade');
  assert.equal(headers['sec-websocket-extensions'], undefined);
  assert.equal(headers['sec-websocket-protocol'], undefined);
});

test('words of the headers are compared without regard to case', async (t) => {
  const headers = { Connection: 'keep-alive, UPGRADE', Upgrade: 'WebSocket' };
  assert.equal((await open(t, upgradeHead(headers))).status, 101);
});

test('a slash at the end is tolerated', async (t) => {
  assert.equal((await open(t, upgradeHead({}, '/socket/websocket/?vsn=2.0.0'))).status, 101);
});

for (const query of ['vsn=2.0.0', 'vsn=2.0.7', 'vsn=1.0.0&vsn=2.0.0', 'a[b]=1&vsn=2%2E0.0'])
  test(`${query} is served`, async (t) => {
    assert.equal((await open(t, upgradeHead({}, `/socket/websocket?${query}`))).status, 101);
  });

for (const query of ['vsn=2.1.0', 'vsn=1.1.0', 'vsn=3.0.0', 'vsn=2', 'vsn=2.0', 'vsn=', 'vsn=abc', 'vsn[]=2.0.0', 'vsn=2.0.0x'])
  test(`${query} is 403`, async (t) => {
    const { status, body } = await open(t, upgradeHead({}, `/socket/websocket?${query}`));
    assert.deepEqual([status, body], [403, '']);
  });

for (const [name, headers] of [
  ['no Upgrade', { Upgrade: null }],
  ['another Upgrade', { Upgrade: 'h2c' }],
  ['no Connection', { Connection: null }],
  ['Connection: keep-alive', { Connection: 'keep-alive' }],
  ['no key', { 'Sec-WebSocket-Key': null }],
  ['a short key', { 'Sec-WebSocket-Key': 'YWJj' }],
  ['a key that is none', { 'Sec-WebSocket-Key': '!!!!!!!!!!!!!!!!!!!!!!!!' }],
  ['no version', { 'Sec-WebSocket-Version': null }],
  ['version 8', { 'Sec-WebSocket-Version': '8' }],
])
  test(`${name} is 400, with words`, async (t) => {
    const { status, body } = await open(t, upgradeHead(headers));
    assert.equal(status, 400);
    assert.notEqual(body, '');
  });

test('anything but GET is 400, an unknown path 404', async (t) => {
  for (const method of ['POST', 'PUT', 'DELETE'])
    assert.equal((await open(t, head('/socket/websocket?vsn=2.0.0', { 'Content-Length': '0' }, method))).status, 400);
  for (const path of ['/socket', '/socket/', '/socket/websocketx', '/socket/longpoll', '/other/websocket'])
    assert.equal((await open(t, upgradeHead({}, `${path}?vsn=2.0.0`))).status, 404, path);
});

test('a refused opening leaves the connection for another request', async (t) => {
  const wire = await Wire.open(server.port);
  t.after(() => wire.close());
  assert.equal((await wire.request(upgradeHead({}, '/socket/websocket?vsn=9.0.0'))).status, 403);
  assert.equal((await wire.request(upgradeHead())).status, 101);
  await alive(wire);
});

test('frames right behind the request, before its answer', async (t) => {
  const wire = await Wire.open(server.port);
  t.after(() => wire.close());
  await wire.write(Buffer.concat([Buffer.from(upgradeHead()), frame(TEXT, HEARTBEAT)]));
  assert.equal((await wire.response()).status, 101);
  assert.equal((await takeFrame(wire)).payload.toString(), ANSWER);
});

for (const origin of [
  'https://app.example.com', 'https://app.example.com:443', 'http://wild.example',
  'https://a.b.wild.example:99', 'http://port.example:8080', 'http://127.0.0.1:4000',
])
  test(`origin ${origin} is allowed`, async (t) => {
    assert.equal((await open(t, upgradeHead({ Origin: origin }), strict)).status, 101);
  });

for (const origin of [
  'http://app.example.com', 'https://app.example.com:444', 'https://APP.example.com', 'https://example.com',
  'https://evilwild.example', 'http://port.example', 'http://evil.example', 'null', '',
  'https://app.example.com.evil.example', 'https://app.example.com@evil.example', 'file://',
])
  test(`origin '${origin}' is 403`, async (t) => {
    const { status, body } = await open(t, upgradeHead({ Origin: origin }), strict);
    assert.deepEqual([status, body], [403, '']);
  });

test('no origin is allowed', async (t) => {
  assert.equal((await open(t, upgradeHead(), strict)).status, 101);
});

// ---- frames ----

test('a ping gets its data back, a pong nothing', async (t) => {
  const wire = await socket(t);
  for (const data of ['', 'data', 'x'.repeat(125)]) {
    await wire.write(frame(PONG, 'unsolicited'));
    await wire.write(frame(PING, data));
    const { opcode, payload } = await takeFrame(wire);
    assert.deepEqual([opcode, payload.toString()], [PONG, data]);
  }
});

test('fragments, with control frames between, cut inside a character', async (t) => {
  const wire = await socket(t);
  const text = Buffer.from(JSON.stringify([null, 'ü😀', 'phoenix', 'heartbeat', {}]));
  const parts = [...text].map((byte) => Buffer.from([byte]));
  for (const [i, part] of parts.entries()) {
    await wire.write(frame(i === 0 ? TEXT : 0, part, { fin: i === parts.length - 1 }));
    if (i % 7 === 3) {
      await wire.write(frame(PING, `${i}`));
      assert.equal((await takeFrame(wire)).payload.toString(), `${i}`);
    }
  }
  assert.equal(JSON.parse((await takeFrame(wire)).payload)[1], 'ü😀');
});

test('a frame byte by byte', async (t) => {
  const wire = await socket(t);
  for (const byte of frame(TEXT, HEARTBEAT)) await wire.write(Buffer.from([byte]));
  assert.equal((await takeFrame(wire)).payload.toString(), ANSWER);
});

test('empty fragments', async (t) => {
  const wire = await socket(t);
  await wire.write(frame(TEXT, '', { fin: false }));
  for (let i = 0; i < 100; i++) await wire.write(frame(0, '', { fin: false }));
  await wire.write(frame(0, HEARTBEAT));
  assert.equal((await takeFrame(wire)).payload.toString(), ANSWER);
});

test('what the server sends is not masked, not fragmented', async (t) => {
  const wire = await socket(t);
  await wire.write(frame(TEXT, JSON.stringify([null, 'r'.repeat(5000), 'phoenix', 'heartbeat', {}])));
  const answer = await takeFrame(wire);
  assert.deepEqual([answer.opcode, answer.fin], [TEXT, true]);
  assert.ok(answer.payload.length > 5000);
});

const breaks = [
  [1002, 'a frame that is not masked', frame(TEXT, HEARTBEAT, { mask: false })],
  [1002, 'opcode 3', frame(3, 'x')],
  [1002, 'opcode 11', frame(11, 'x')],
  [1002, 'reserved bit 1 (compression)', frame(TEXT, HEARTBEAT, { reserved: 4 })],
  [1002, 'reserved bit 3', frame(TEXT, HEARTBEAT, { reserved: 1 })],
  [1002, 'a continuation of nothing', frame(0, 'x')],
  [1002, 'a message inside a message', Buffer.concat([frame(TEXT, '[', { fin: false }), frame(TEXT, ']')])],
  [1002, 'a ping in fragments', frame(PING, 'x', { fin: false })],
  [1002, 'a ping of 126 bytes', frame(PING, 'x'.repeat(126))],
  [1002, 'a close of one byte', frame(CLOSE, 'x')],
  [1002, 'a close with code 1004', frame(CLOSE, Buffer.from([0x03, 0xec]))],
  [1002, 'a close with code 1005', frame(CLOSE, Buffer.from([0x03, 0xed]))],
  [1002, 'a close with code 1006', frame(CLOSE, Buffer.from([0x03, 0xee]))],
  [1002, 'a close with code 999', frame(CLOSE, Buffer.from([0x03, 0xe7]))],
  [1002, 'a close with code 5000', frame(CLOSE, Buffer.from([0x13, 0x88]))],
  [1002, 'a length of 2^63', Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])],
  [1007, 'text that is not UTF-8', frame(TEXT, Buffer.from([0x22, 0xff, 0x22]))],
  [1007, 'text that ends inside a character', frame(TEXT, Buffer.from([0x22, 0xc3]))],
  [1007, 'a surrogate', frame(TEXT, Buffer.from([0xed, 0xa0, 0x80]))],
  [1007, 'a reason of a close that is not UTF-8', frame(CLOSE, Buffer.from([0x03, 0xe8, 0xff]))],
  [1009, 'a frame above max_frame, at its head', frame(TEXT, '', { length: 20_001 })],
  [1009, 'a frame of gigabytes, at its head', frame(BINARY, '', { length: 2 ** 40 })],
  [1009, 'fragments above max_message', Buffer.concat([frame(TEXT, 'x'.repeat(6000), { fin: false }), frame(0, 'x'.repeat(6000))])],
  [1011, 'text that is no JSON', frame(TEXT, 'hello')],
  [1011, 'an empty text', frame(TEXT, '')],
  [1011, 'an object', frame(TEXT, '{"topic":"phoenix"}')],
  [1011, 'four elements', frame(TEXT, '[null,"1","phoenix","heartbeat"]')],
  [1011, 'something behind the array', frame(TEXT, `${HEARTBEAT} x`)],
  [1011, 'an unpaired surrogate', frame(TEXT, '[null,"1","phoenix","heartbeat","\\ud800"]')],
  [1011, 'a binary frame of kind 1', frame(BINARY, Buffer.from([1, 0, 0, 0, 0]))],
  [1011, 'a binary frame whose sizes exceed it', frame(BINARY, Buffer.from([0, 1, 1, 200, 1, 1, 1]))],
  [1011, 'an empty binary frame', frame(BINARY, '')],
];

for (const [code, name, bytes] of breaks)
  test(`${name}: ${code}`, async (t) => {
    const wire = await socket(t);
    await alive(wire);
    await wire.write(bytes);
    assert.equal(await takeClose(wire), code);
    assert.equal((await wire.untilEnd()).length, 0); // nothing behind it
  });

test('a malformed message ends the channels, and no other socket', async () => {
  const client = await server.connect();
  const other = await server.connect();
  const channel = await client.join('test:a', { terminate: 'broadcast' });
  const watcher = await other.join('test:a');
  const { channel: pid } = await channel.pids();
  client.frames.length = 0;
  client.raw('nonsense');
  assert.deepEqual(await client.end(), { code: 1011, reason: '' });
  assert.deepEqual(client.frames, []);
  await server.log(new RegExp(`\\[${pid}\\]: terminate closed`));
  await watcher.event('terminated');
  await other.close();
});

test('as large as allowed', async (t) => {
  const wire = await socket(t);
  const text = (size) => {
    const empty = JSON.stringify([null, '', 'phoenix', 'heartbeat', {}]);
    return JSON.stringify([null, 'r'.repeat(size - empty.length), 'phoenix', 'heartbeat', {}]);
  };
  await wire.write(frame(TEXT, text(20_000)));
  assert.equal((await takeFrame(wire)).opcode, TEXT);
  const whole = text(10_000);
  await wire.write(frame(TEXT, whole.slice(0, 5000), { fin: false }));
  await wire.write(frame(0, whole.slice(5000)));
  assert.equal((await takeFrame(wire)).opcode, TEXT);
});

for (const code of [1000, 1001, 1003, 1007, 1008, 1011, 3000, 4999])
  test(`a close with ${code} is answered`, async (t) => {
    const wire = await socket(t);
    await wire.write(frame(CLOSE, Buffer.from([code >> 8, code & 255, 0x62, 0x79, 0x65])));
    const answer = await takeFrame(wire);
    assert.equal(answer.opcode, CLOSE);
    assert.ok([1000, code].includes(answer.code), `${answer.code}`);
    await wire.untilEnd();
  });

test('a close without a code is answered', async (t) => {
  const wire = await socket(t);
  await wire.write(frame(CLOSE));
  assert.equal((await takeFrame(wire)).opcode, CLOSE);
  await wire.untilEnd();
});

test('who never sends its FIN does not keep its transport', async () => {
  const wire = await upgraded(strict.port);
  const { localPort } = wire.socket;
  await wire.write(frame(CLOSE, Buffer.from([0x03, 0xe8])));
  await takeClose(wire);
  await wire.untilEnd(); // allowHalfOpen: ours stays open
  const left = () => strict.workers('transport').filter((p) => p.title.includes(`:${localPort} `));
  await until(() => left().length === 0, 'its end');
  wire.close();
});

// ---- idle ----

describe('idle', { concurrency: true }, () => {
  test('who sends nothing for idle_timeout is closed', async (t) => {
    const began = performance.now();
    const wire = await socket(t, strict);
    assert.ok([1000, 1001, 1002].includes(await takeClose(wire)));
    assert.ok(performance.now() - began >= IDLE);
  });

  test('what the server pushes does not count', async (t) => {
    const other = await Client.open(strict.url());
    const channel = await other.join('test:a');
    const pushing = setInterval(() => channel.send('broadcast', { event: 'push' }), 50);
    t.after(() => clearInterval(pushing));
    const wire = await socket(t, strict);
    await wire.write(frame(TEXT, JSON.stringify(['1', '1', 'test:a', 'phx_join', {}])));
    let pushed = 0;
    const closed = (async () => {
      for (;;) {
        const { opcode, code, payload } = await takeFrame(wire);
        if (opcode === CLOSE) return code;
        if (JSON.parse(payload)[3] === 'push') pushed++;
      }
    })();
    // The pushes go on all the time.
    assert.ok([1000, 1001, 1002].includes(await within(closed, () => 'the close', DEADLINE)));
    assert.ok(pushed > 3, `${pushed} pushes`);
    clearInterval(pushing);
    await other.close();
  });

  for (const [name, bytes] of [
    ['pings', () => frame(PING)],
    ['pongs', () => frame(PONG)],
    ['parts of a frame', (i) => (i === 0 ? frame(BINARY, '', { length: 1000 }) : Buffer.from('x'))],
  ])
    test(`${name} keep a connection open`, async (t) => {
      const wire = await socket(t, strict);
      const began = performance.now();
      for (let i = 0; performance.now() - began < 2.5 * IDLE; i++) {
        await wire.write(bytes(i));
        await within(new Promise((resolve) => setTimeout(resolve, 100)), () => 'a moment');
        assert.ok(!wire.end, 'it was closed');
      }
    });
});
