// A client that speaks Phoenix's V2 frames by itself: what it sends and what it
// gets is exactly what is on the wire.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { Inbox, within } from './wait.mjs';

export class Client {
  static async open(url, options = {}) {
    const client = new Client(url, options);
    await within(client.opened, () => `the opening of ${url}`);
    return client;
  }

  constructor(url, options = {}) {
    this.ref = 0;
    this.inbox = new Inbox();
    this.frames = []; // all, in the order in which they came
    this.socket = new WebSocket(url, { maxPayload: 0, ...options });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('open', resolve);
      this.socket.once('error', reject);
    });
    this.opened.catch(() => {});
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) =>
      this.socket.once('close', (code, reason) => {
        this.inbox.close(`closed (${code})`);
        resolve({ code, reason: reason.toString() });
      }),
    );
    this.socket.on('message', (data, binary) => {
      const frame = binary ? decode(data) : JSON.parse(data);
      this.frames.push(frame);
      this.inbox.add(frame);
    });
  }

  nextRef() {
    return String(++this.ref);
  }

  // Any text or bytes as they are.
  raw(data) {
    this.socket.send(data);
  }

  frame(frame) {
    this.raw(JSON.stringify(frame));
  }

  // Sends an event and gives its ref.
  send(joinRef, topic, event, payload = {}, ref = this.nextRef()) {
    this.frame([joinRef, ref, topic, event, payload]);
    return ref;
  }

  // The next frame that fits.
  take(fits, what, ms) {
    return this.inbox.take(fits, what, ms);
  }

  // The payload of the reply to a ref.
  async reply(ref, ms) {
    const frame = await this.take(
      (f) => f[3] === 'phx_reply' && f[1] === ref,
      `the reply to ${ref}`,
      ms,
    );
    return frame[4];
  }

  event(topic, event, ms) {
    return this.take(
      (f) => f[2] === topic && f[3] === event,
      `${event} of ${topic}`,
      ms,
    );
  }

  heartbeat() {
    return this.reply(this.send(null, 'phoenix', 'heartbeat'));
  }

  // Joins, and is accepted.
  async join(topic, params = {}) {
    const channel = new Channel(this, topic, params);
    const reply = await channel.joined();
    assert.equal(reply.status, 'ok', JSON.stringify(reply));
    return channel;
  }

  // Frames that came and that nobody took.
  rest() {
    return this.inbox.items;
  }

  async close(code = 1000) {
    this.socket.close(code);
    return within(this.closed, () => 'the close');
  }

  // Its end, brought about by the server.
  end(ms) {
    return within(this.closed, () => 'the end of the connection', ms);
  }
}

// A topic that a client joins.
export class Channel {
  constructor(client, topic, params = {}) {
    this.client = client;
    this.topic = topic;
    this.joinRef = client.nextRef();
    client.send(this.joinRef, topic, 'phx_join', params, this.joinRef);
  }

  joined(ms) {
    return this.client.reply(this.joinRef, ms);
  }

  send(event, payload) {
    return this.client.send(this.joinRef, this.topic, event, payload);
  }

  reply(ref, ms) {
    return this.client.reply(ref, ms);
  }

  // Sends, and gives the payload of the reply.
  call(event, payload, ms) {
    return this.reply(this.send(event, payload), ms);
  }

  async ok(event, payload, ms) {
    const reply = await this.call(event, payload, ms);
    assert.equal(reply.status, 'ok', `${event}: ${JSON.stringify(reply)}`);
    return reply.response;
  }

  about() {
    return this.ok('about');
  }

  event(name, ms) {
    return this.client.event(this.topic, name, ms);
  }

  leave() {
    return this.call('phx_leave');
  }

  // { channel: pid, transport: pid }
  async pids() {
    const { pid, ppid } = await this.about();
    return { channel: pid, transport: ppid };
  }
}

export const CRASHED = { status: 'error', response: { reason: 'channel crashed' } };
export const UNMATCHED = { status: 'error', response: { reason: 'unmatched topic' } };

// ---- the binary form ----

function fields(data, at, sizes) {
  return sizes.map((size) => {
    const field = data.subarray(at, at + size).toString();
    at += size;
    return field;
  });
}

export function decode(data) {
  const kind = data[0];
  const n = [3, 4, 2][kind];
  const sizes = [...data.subarray(1, 1 + n)];
  const end = 1 + n + sizes.reduce((a, b) => a + b, 0);
  const values = fields(data, 1 + n, sizes);
  const body = data.subarray(end);
  switch (kind) {
    case 0: {
      const [joinRef, topic, event] = values;
      return [joinRef, null, topic, event, body];
    }
    case 1: {
      const [joinRef, ref, topic, status] = values;
      return [joinRef, ref, topic, 'phx_reply', { status, response: body }];
    }
    default: {
      const [topic, event] = values;
      return [null, null, topic, event, body];
    }
  }
}

export function encode(joinRef, ref, topic, event, body) {
  const parts = [joinRef, ref, topic, event].map((field) => Buffer.from(field));
  return Buffer.concat([
    Buffer.from([0, ...parts.map((part) => part.length)]),
    ...parts,
    body,
  ]);
}
