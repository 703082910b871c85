// A client for fan-outs: it takes frames off the bytes as they come, whatever
// their boundaries, refuses what is not a whole frame of Phoenix, and can stop
// reading. It checks the order of what numbered senders broadcast.
import assert from 'node:assert/strict';
import net from 'node:net';
import { decode } from './client.mjs';
import { Inbox, within } from './wait.mjs';
import { BINARY, CLOSE, frame, PING, PONG, TEXT, upgradeHead } from './wire.mjs';

export class Listener {
  // options: vsn; path: of a listener of a Unix domain; query.
  static async open(server, options = {}) {
    const listener = new Listener(server, options);
    await within(listener.opened, () => 'the opening');
    return listener;
  }

  constructor(server, { vsn = '2.0.0', path, query = '' } = {}) {
    this.vsn = vsn;
    this.ref = 0;
    this.keeps = false; // all frames, in `frames`
    this.frames = [];
    this.heard = new Map(); // sender and topic: the last number
    this.count = 0;
    this.inbox = new Inbox(); // what is not numbered
    this.rest = Buffer.alloc(0);
    this.chunks = []; // of a long frame that is still coming
    this.size = 0;
    this.needs = 2;
    this.code = null; // of the Close frame
    this.error = null;
    const to = path ? { path } : { host: '127.0.0.1', port: server.port, noDelay: true };
    this.socket = net.connect(to);
    this.ended = new Promise((resolve) => this.socket.once('close', resolve)).then(() => {
      this.over = true;
      this.inbox.close('the connection has ended');
    });
    this.socket.on('error', () => {});
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('close', () => reject(new Error('closed')));
      this.#upgrade(resolve, reject);
    });
    this.opened.catch(() => {});
    this.socket.write(upgradeHead({}, `/socket/websocket?vsn=${vsn}${query}`));
  }

  #upgrade(resolve, reject) {
    let head = Buffer.alloc(0);
    const read = (data) => {
      head = Buffer.concat([head, data]);
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      this.socket.off('data', read);
      if (!head.subarray(0, 12).equals(Buffer.from('HTTP/1.1 101'))) {
        reject(new Error(head.toString()));
        return;
      }
      this.socket.on('data', (more) => this.#data(more));
      this.#data(head.subarray(end + 4));
      resolve();
    };
    this.socket.on('data', read);
  }

  #data(data) {
    if (this.error !== null) return;
    this.chunks.push(data);
    this.size += data.length;
    if (this.size < this.needs) return;
    let all = this.chunks.length === 1 ? data : Buffer.concat(this.chunks, this.size);
    try {
      for (let used = this.#frame(all); used > 0; used = this.#frame(all))
        all = all.subarray(used);
    } catch (error) {
      this.error = error;
      this.inbox.close(String(error));
      this.socket.destroy();
      return;
    }
    this.chunks = all.length > 0 ? [all] : [];
    this.size = all.length;
  }

  // Takes one frame off the front, if it is whole: its bytes.
  #frame(data) {
    this.needs = 2;
    if (data.length < 2) return 0;
    let size = data[1];
    let at = 2;
    assert.ok(size < 128, 'a frame of the server is masked');
    if (size === 126) at = 4;
    if (size === 127) at = 10;
    if (data.length < at) return 0;
    if (size === 126) size = data.readUInt16BE(2);
    else if (size === 127) size = Number(data.readBigUInt64BE(2));
    this.needs = at + size;
    if (data.length < at + size) return 0;
    this.needs = 2;
    assert.equal(data[0] & 0xf0, 0x80, `the head of a frame: ${data.subarray(0, 20).toString('hex')}`);
    this.#whole(data[0] & 0x0f, data.subarray(at, at + size));
    return at + size;
  }

  #whole(opcode, body) {
    assert.equal(this.code, null, 'a frame behind the Close frame');
    switch (opcode) {
      case TEXT:
        this.#message(JSON.parse(body));
        break;
      case BINARY:
        this.#message(decode(Buffer.from(body)));
        break;
      case CLOSE:
        this.code = body.length >= 2 ? body.readUInt16BE() : 1005;
        if (!this.socket.writableEnded) this.socket.end(frame(CLOSE, body.subarray(0, 2)));
        break;
      case PING:
        this.socket.write(frame(PONG, body));
        break;
      default:
        assert.equal(opcode, PONG, `opcode ${opcode}`);
    }
  }

  #message(message) {
    const [joinRef, ref, topic, event, payload] = Array.isArray(message)
      ? message
      : [null, message.ref, message.topic, message.event, message.payload];
    const flat = [joinRef, ref, topic, event, payload];
    if (event === 'phx_reply' && ref === this.begin) this.heard.clear();
    if (this.keeps) this.frames.push(flat);
    if (event === 'numbered') this.#numbered(topic, payload);
    else this.inbox.add(flat);
  }

  // Each follows the one before it.
  #numbered(topic, { from, n }) {
    const key = `${from} ${topic}`;
    const last = this.heard.get(key);
    assert.ok(last === undefined || n === last + 1, `${key}: ${n} behind ${last}`);
    this.heard.set(key, n);
    this.count++;
    this.onNumbered?.(n);
  }

  // What a sender sent last, as far as it has come; 0: nothing.
  last(from, topic) {
    return this.heard.get(`${from} ${topic}`) ?? 0;
  }

  // What comes behind the reply to this begins at any number.
  beginsAt(ref) {
    this.begin = ref;
  }

  nextRef() {
    return String(++this.ref);
  }

  send(topic, event, payload = {}, joinRef = null, ref = this.nextRef()) {
    const message = this.vsn.startsWith('1') ? { topic, event, payload, ref } : [joinRef, ref, topic, event, payload];
    this.socket.write(frame(TEXT, JSON.stringify(message)));
    return ref;
  }

  take(fits, what, ms) {
    return this.inbox.take(fits, what, ms);
  }

  async reply(ref, ms) {
    const [, , , , payload] = await this.take((f) => f[3] === 'phx_reply' && f[1] === ref, `the reply to ${ref}`, ms);
    return payload;
  }

  async call(topic, event, payload, ms) {
    return this.reply(this.send(topic, event, payload), ms);
  }

  async ok(topic, event, payload, ms) {
    const reply = await this.call(topic, event, payload, ms);
    assert.equal(reply.status, 'ok', `${event}: ${JSON.stringify(reply)}`);
    return reply.response;
  }

  async join(topic, params = {}, ms = undefined) {
    const ref = this.nextRef();
    this.send(topic, 'phx_join', params, ref, ref);
    const reply = await this.reply(ref, ms);
    assert.equal(reply.status, 'ok', JSON.stringify(reply));
    return ref;
  }

  leave(topic) {
    return this.call(topic, 'phx_leave', {});
  }

  heartbeat(ms) {
    return this.ok('phoenix', 'heartbeat', {}, ms);
  }

  pause() {
    this.socket.pause();
  }

  resume() {
    this.socket.resume();
  }

  // It was well until now.
  check() {
    if (this.error !== null) throw this.error;
    assert.ok(!this.over, 'the connection has ended');
  }

  // The end, brought about by the server; nothing is left of a frame. The code.
  async end(ms) {
    await within(this.ended, () => 'the end of the connection', ms);
    if (this.error !== null) throw this.error;
    assert.equal(this.size, 0, 'the last frame is not whole');
    return this.code;
  }

  // The same without a word, as the server does with who is too slow. What did
  // not fit into the socket is dropped, so it may end within a frame; all frames
  // before are whole and in order.
  async cut(ms) {
    await within(this.ended, () => 'the end of the connection', ms);
    if (this.error !== null) throw this.error;
    assert.equal(this.code, null, 'a Close frame');
  }

  close() {
    this.socket.destroy();
  }
}

// Broadcasts numbers to a topic for as long as it is let: it knows how many were
// accepted.
export class Sender {
  // window: how many wait for their replies at once; size(n): of the padding.
  constructor(listener, name, own, topic, { size = () => 0, pause = 0, window = 1, ms } = {}) {
    Object.assign(this, { listener, name, own, topic, size, pause, window, ms });
    this.sent = 0;
    this.accepted = 0;
    this.on = true;
  }

  async #one() {
    const n = ++this.sent;
    const payload = { from: this.name, n, pad: 'x'.repeat(this.size(n)) };
    await this.listener.ok(this.own, 'broadcast', { to: this.topic, event: 'numbered', payload }, this.ms);
    this.accepted++;
  }

  // Until stop() or so many are sent.
  async run(limit = Infinity) {
    const lane = async () => {
      while (this.on && this.sent < limit) {
        await this.#one();
        if (this.pause > 0) await new Promise((resolve) => setTimeout(resolve, this.pause));
      }
    };
    await Promise.all(Array.from({ length: this.window }, lane));
  }

  stop() {
    this.on = false;
  }
}
