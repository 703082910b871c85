// Bytes on a TCP connection: requests and WebSocket frames as no client library
// would send them.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { until, within } from './wait.mjs';

export class Wire {
  static async open(options) {
    const wire = new Wire(options);
    await within(wire.opened, () => 'the connection');
    return wire;
  }

  // options: a port of 127.0.0.1, or those of net.connect.
  constructor(options) {
    this.data = Buffer.alloc(0);
    const to = typeof options === 'number' ? { host: '127.0.0.1', port: options } : options;
    this.socket = net.connect({ allowHalfOpen: true, noDelay: true, ...to });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      this.socket.once('error', reject);
    });
    this.opened.catch(() => {});
    this.socket.on('error', (error) => {
      this.error = error;
    });
    // The server has closed, or the connection is lost.
    this.ended = new Promise((resolve) => {
      this.socket.once('end', resolve);
      this.socket.once('close', resolve);
    }).then(() => {
      this.end = true;
    });
    this.socket.on('data', (data) => {
      this.data = Buffer.concat([this.data, data]);
    });
  }

  write(data) {
    return new Promise((resolve) => this.socket.write(data, resolve));
  }

  // n bytes from the front.
  async take(n) {
    await until(() => this.data.length >= n || this.end, `${n} bytes`);
    if (this.data.length < n)
      throw new Error(`ended after ${this.data.length} of ${n} bytes: ${this.data}`);
    const data = this.data.subarray(0, n);
    this.data = this.data.subarray(n);
    return data;
  }

  // Up to and with a mark.
  async takeUntil(mark) {
    const at = () => this.data.indexOf(mark);
    await until(() => at() !== -1 || this.end, JSON.stringify(mark));
    if (at() === -1) throw new Error(`ended before ${JSON.stringify(mark)}: ${this.data}`);
    return this.take(at() + Buffer.byteLength(mark));
  }

  // One HTTP response: { status, headers, body }.
  async response({ head = false } = {}) {
    const lines = (await this.takeUntil('\r\n\r\n')).toString().split('\r\n');
    const status = Number(lines[0].split(' ')[1]);
    const headers = Object.fromEntries(
      lines
        .slice(1)
        .filter((line) => line !== '')
        .map((line) => {
          const colon = line.indexOf(':');
          return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
        }),
    );
    const size = Number(headers['content-length'] ?? 0);
    const body = head || status === 304 || status === 101 ? '' : (await this.take(size)).toString();
    return { status, headers, body };
  }

  async request(text, options) {
    await this.write(text);
    return this.response(options);
  }

  // All that comes until the server closes.
  async untilEnd(ms) {
    await within(this.ended, () => 'the end of the connection', ms);
    return this.data;
  }

  close() {
    this.socket.destroy();
  }
}

export const head = (path, headers = {}, method = 'GET') =>
  [
    `${method} ${path} HTTP/1.1`,
    ...Object.entries({ Host: '127.0.0.1', ...headers })
      .filter(([, value]) => value !== null)
      .map(([name, value]) => `${name}: ${value}`),
    '\r\n',
  ].join('\r\n');

export const upgradeHead = (headers = {}, path = '/socket/websocket?vsn=2.0.0', method = 'GET') =>
  head(
    path,
    {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
      'Sec-WebSocket-Version': '13',
      ...headers,
    },
    method,
  );

// A connection after its 101.
export async function upgraded(port, headers) {
  const wire = await Wire.open(port);
  const { status } = await wire.request(upgradeHead(headers));
  if (status !== 101) throw new Error(`status ${status}`);
  return wire;
}

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

// A frame of a client. length: what its head says, instead of the truth.
export function frame(opcode, payload = '', { fin = true, mask = true, reserved = 0, length } = {}) {
  const body = Buffer.from(payload);
  const size = length ?? body.length;
  const key = randomBytes(4);
  let sizes;
  if (size < 126) sizes = Buffer.from([size]);
  else if (size < 65536) {
    sizes = Buffer.alloc(3);
    sizes[0] = 126;
    sizes.writeUInt16BE(size, 1);
  } else {
    sizes = Buffer.alloc(9);
    sizes[0] = 127;
    sizes.writeBigUInt64BE(BigInt(size), 1);
  }
  if (mask) sizes[0] |= 0x80;
  const first = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  if (!mask) return Buffer.concat([Buffer.from([first]), sizes, body]);
  const masked = body.map((byte, i) => byte ^ key[i % 4]);
  return Buffer.concat([Buffer.from([first]), sizes, key, masked]);
}

// The next frame of the server: { opcode, payload, code }.
export async function takeFrame(wire) {
  const [first, second] = await wire.take(2);
  let size = second & 0x7f;
  if (size === 126) size = (await wire.take(2)).readUInt16BE();
  else if (size === 127) size = Number((await wire.take(8)).readBigUInt64BE());
  const payload = await wire.take(size);
  const opcode = first & 0x0f;
  return {
    opcode,
    payload,
    fin: (first & 0x80) !== 0,
    code: opcode === CLOSE && size >= 2 ? payload.readUInt16BE() : undefined,
  };
}

// The code that the server closes with; frames before it are skipped.
export async function takeClose(wire) {
  for (;;) {
    const { opcode, code } = await takeFrame(wire);
    if (opcode === CLOSE) return code;
  }
}
