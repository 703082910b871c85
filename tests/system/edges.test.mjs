// What a channel says that has no form, or is a byte too large: the channel's
// crash, and nobody else's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Channel, CRASHED } from './lib/client.mjs';
import { start } from './lib/server.mjs';

test('a join whose answer has no binary form has crashed, and is told so', async (t) => {
  const server = await start(t);
  const client = await server.connect();
  const channel = new Channel(client, `test:${'x'.repeat(300)}`, { bytes: true });
  assert.deepEqual(await channel.joined(), {
    status: 'error',
    response: { reason: 'join crashed' },
  });
  await client.heartbeat();
  assert.deepEqual(client.rest(), []);
  await server.settles({ transport: 1, channel: 0 });
});

test('a broadcast as large as an envelope may be is too large for pubsub', async (t) => {
  const server = await start(t);
  const client = await server.connect();
  const channel = await client.join('test:a');
  const other = await client.join('test:b');
  // flags; topic, event and payload with size and NUL; kind
  const size = 64 * 1024 * 1024 - 4 - (4 + 6 + 1) - (4 + 4 + 1) - 4 - (4 + 1);
  assert.deepEqual(await channel.call('huge', { size }), CRASHED);
  await other.ok('echo');
});
