// Bytes as no client library sends them: all that is valid, cut off at every
// place; the largest, smallest and most pieces. What RFC 6455 demands frame by
// frame is in tests/unit/test_websocket.c.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { asan, start } from './lib/server.mjs';
import { until } from './lib/wait.mjs';
import {
  BINARY, CLOSE, frame, head, PING, takeClose, takeFrame, TEXT, upgraded, upgradeHead, Wire,
} from './lib/wire.mjs';

// Silence is waited for; but who is only slow must not be taken for silent: each
// of these limits only what is to be cut short.
const wait = asan ? 5 : 3;
const heads = await start({ after }, { server: { head_timeout: `${wait}s` } });
const messages = await start({ after }, {
  socket: { message_timeout: `${wait}s`, idle_timeout: `${2 * wait}s` },
});
const roomy = await start({ after });

const HEARTBEAT = (ref) => JSON.stringify([null, ref, 'phoenix', 'heartbeat', {}]);
const JOIN = JSON.stringify(['1', '1', 'test:a', 'phx_join', {}]);

// ---- every prefix ----

// Who is silent waits beside the others; the rest comes in batches.
async function forEachPrefix(n, end, run) {
  const batch = end === 'silence' ? n : 50;
  for (let i = 1; i < n; i += batch)
    await Promise.all(Array.from({ length: Math.min(batch, n - i) }, (_, k) => run(i + k)));
}

// The ends that a cut may have, and what the server does: { name: async (wire) }.
const ends = {
  silence: (wire) => wire.untilEnd(),
  close: (wire) => {
    wire.socket.end();
    return wire.untilEnd();
  },
  reset: (wire) => wire.socket.resetAndDestroy(),
};

// Another client, all the time.
async function besides(server, run) {
  const client = await server.connect();
  const channel = await client.join('test:a');
  let running = true;
  const talk = (async () => {
    for (; running; await new Promise((resolve) => setTimeout(resolve, 50))) await channel.ok('echo');
  })();
  try {
    await run(server);
    await server.settles({ transport: 1, channel: 1 });
  } finally {
    running = false;
  }
  await talk;
  await client.close();
}

const request = upgradeHead({ Origin: 'http://127.0.0.1' });

for (const [name, end] of Object.entries(ends))
  test(`every prefix of a handshake, then ${name}`, () =>
    besides(name === 'silence' ? heads : roomy, (server) =>
      forEachPrefix(request.length, name, async (size) => {
        const wire = await Wire.open(server.port);
        await wire.write(request.slice(0, size));
        const said = await end(wire);
        if (name === 'silence') assert.match(`${said}`, /^HTTP\/1.1 408 /, `${size} bytes`);
        if (name === 'close') assert.equal(`${said}`, '', `${size} bytes`);
        wire.close();
      }),
    ));

const frames = [
  frame(TEXT, JOIN),
  frame(PING, 'are you there'),
  frame(TEXT, HEARTBEAT('1').slice(0, 10), { fin: false }),
  frame(0, HEARTBEAT('1').slice(10)),
  frame(BINARY, Buffer.from('\0\x01\x01\x06\x0411test:aechobytes', 'latin1')),
  frame(CLOSE, Buffer.from([0x03, 0xe8])),
];
const bytes = Buffer.concat(frames);

for (const [name, end] of Object.entries(ends))
  test(`every prefix of valid frames, then ${name}`, () =>
    besides(name === 'silence' ? messages : roomy, (server) =>
      forEachPrefix(bytes.length, name, async (size) => {
        const wire = await upgraded(server.port);
        await wire.write(bytes.subarray(0, size));
        if (name === 'silence')
          assert.ok([1002, 1008].includes(await takeClose(wire)), `${size} bytes`);
        await end(wire);
        wire.close();
      }),
    ));

test('all of it byte by byte, a close frame in two parts at its end', async (t) => {
  const wire = await socket(t);
  for (const byte of bytes.subarray(0, -1)) await wire.write(Buffer.from([byte]));
  const got = [];
  for (let i = 0; i < 4; i++) got.push((await takeFrame(wire)).opcode);
  assert.deepEqual(got.sort(), [TEXT, TEXT, BINARY, 10].sort());
  assert.ok(!wire.end);
  await wire.write(bytes.subarray(-1));
  assert.equal(await takeClose(wire), 1000);
  await wire.untilEnd();
});

// ---- many pieces ----

// The text of a heartbeat of so many bytes, and its ref.
function large(size) {
  const ref = 'r'.repeat(size - HEARTBEAT('').length);
  return [HEARTBEAT(ref), ref];
}

function pieces(text, size) {
  const all = [];
  for (let at = 0; at < text.length; at += size)
    all.push(part(at === 0 ? TEXT : 0, text.slice(at, at + size), at + size >= text.length));
  return all;
}

// There may be 65,536 of them: masked with zeros, which is quick.
function part(opcode, data, fin) {
  if (data.length > 125) return frame(opcode, data, { fin });
  const head = [(fin ? 0x80 : 0) | opcode, 0x80 | data.length, 0, 0, 0, 0];
  return Buffer.concat([Buffer.from(head), Buffer.from(data)]);
}

async function socket(t) {
  const wire = await upgraded(roomy.port);
  t.after(() => wire.close());
  return wire;
}

async function takeRef(wire) {
  return JSON.parse((await takeFrame(wire)).payload)[1];
}

test('a message of 65,536 frames of one byte', async (t) => {
  const wire = await socket(t);
  const [text, ref] = large(65_536);
  await wire.write(Buffer.concat(pieces(text, 1)));
  assert.equal(await takeRef(wire), ref);
});

test('pings in one write are answered in order, between the parts of a message', async (t) => {
  const wire = await socket(t);
  const parts = pieces(HEARTBEAT('x'), 1);
  const all = parts.flatMap((part, i) => [part, frame(PING, `${i}`)]);
  await wire.write(Buffer.concat(all.slice(0, -1)));
  for (let i = 0; i < parts.length - 1; i++)
    assert.equal((await takeFrame(wire)).payload.toString(), `${i}`);
  assert.equal(await takeRef(wire), 'x');
});

// ---- large messages ----

const MB = 1 << 20;

for (const size of [1 << 16, 1 << 18, MB, 4 * MB, 7 * MB])
  test(`a text of ${size} bytes in one frame`, async (t) => {
    const wire = await socket(t);
    const [text, ref] = large(size);
    await wire.write(frame(TEXT, text));
    assert.equal(await takeRef(wire), ref);
  });

for (const size of [64, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, MB])
  test(`4 MiB in frames of ${size}`, async (t) => {
    const wire = await socket(t);
    const [text, ref] = large(4 * MB);
    await wire.write(Buffer.concat(pieces(text, size)));
    assert.equal(await takeRef(wire), ref);
  });

for (const size of asan ? [2048] : [64, 128, 256, 512, 1024, 2048])
  test(`1 MiB in one frame, ${size} bytes at a time`, async (t) => {
    const wire = await socket(t);
    const [text, ref] = large(MB);
    const whole = frame(TEXT, text);
    for (let at = 0; at < whole.length; at += size) await wire.write(whole.subarray(at, at + size));
    assert.equal(await takeRef(wire), ref);
  });

for (const size of [50, 64, 256, 1024, 4096, 16_384, 65_536])
  test(`a thousand messages of ${size} bytes at once`, async () => {
    const client = await roomy.connect();
    const [text] = large(size);
    for (let i = 0; i < 1000; i++) client.raw(text);
    await until(() => client.frames.length === 1000, () => `${client.frames.length} answers`);
    await client.close();
  });

test('the servers are as before', async () => {
  for (const server of [heads, messages, roomy]) {
    const client = await server.connect();
    await (await client.join('test:a')).ok('echo');
    await client.close();
    const wire = await Wire.open(server.port);
    assert.equal((await wire.request(head('/'))).status, 404);
    wire.close();
  }
});
