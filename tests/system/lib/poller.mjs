// A long-poll client that does what a test says, and nothing by itself.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { rested } from './procs.mjs';
import { until, within } from './wait.mjs';

export const LINES = 'application/x-ndjson';

// One request, on a connection of its own unless an agent keeps one. { status:
// of HTTP, headers, body, json, ms }; with `signal` it may be given up.
export function request(server, method, { path = '/socket/longpoll', query = {}, headers = {}, body, agent = false, signal, ms } = {}) {
  const params = new URLSearchParams(query);
  const began = performance.now();
  const done = new Promise((resolve, reject) => {
    const req = http.request(
      { host: '127.0.0.1', port: server.port, method, path: `${path}?${params}`, headers, agent, signal },
      (res) => {
        const parts = [];
        res.on('data', (part) => parts.push(part));
        res.on('error', reject);
        res.on('end', () => {
          const text = Buffer.concat(parts).toString();
          let json = null;
          try {
            json = JSON.parse(text);
          } catch {
            // not every answer has one
          }
          resolve({ status: res.statusCode, headers: res.headers, body: text, json, ms: performance.now() - began });
        });
      },
    );
    req.on('error', reject);
    req.end(body);
  });
  return within(done, () => `the answer to ${method} ${path}`, ms);
}

// A session.
export class Poller {
  static async open(server, options = {}) {
    const poller = new Poller(server, options);
    const { json, body } = await poller.request('GET');
    assert.equal(json?.status, 410, body);
    assert.deepEqual(json.messages, []);
    poller.token = json.token;
    return poller;
  }

  // options: path, query, headers, agent, vsn.
  constructor(server, { query = {}, vsn = '2.0.0', ...options } = {}) {
    this.server = server;
    this.options = options;
    this.query = { vsn, ...query };
    this.ref = 0;
  }

  request(method, options = {}) {
    const token = this.token === undefined ? {} : { token: this.token };
    return request(this.server, method, {
      ...this.options,
      ...options,
      query: { ...this.query, ...token, ...options.query },
      headers: { ...this.options.headers, ...options.headers },
    });
  }

  // A poll: { status, messages }.
  async poll(options) {
    const { status, json, body } = await this.request('GET', options);
    assert.equal(status, 200, body);
    return { ...json, messages: json.messages?.map((text) => JSON.parse(text)) };
  }

  // The status that a body is answered with: of the JSON, or of HTTP if there
  // is none.
  async post(body, type = LINES, options = {}) {
    const { status, json } = await this.request('POST', { body, headers: { 'Content-Type': type }, ...options });
    return json?.status ?? status;
  }

  send(...messages) {
    return this.post(messages.map((message) => JSON.stringify(message)).join('\n'));
  }

  // Polls until n messages have come.
  async take(n) {
    const all = [];
    while (all.length < n) {
      const { status, messages } = await this.poll();
      assert.equal(status, 200, `only ${JSON.stringify(all).slice(0, 2000)}`);
      all.push(...messages);
    }
    return all;
  }

  async join(topic, params = {}) {
    const ref = String(++this.ref);
    assert.equal(await this.send([ref, ref, topic, 'phx_join', params]), 200);
    const [reply] = await this.take(1);
    assert.deepEqual(reply.slice(0, 4), [ref, ref, topic, 'phx_reply']);
    assert.equal(reply[4].status, 'ok', JSON.stringify(reply));
    return { joinRef: ref, topic, response: reply[4].response };
  }

  // Sends, and gives the response of the next message, which is the reply.
  async call({ joinRef, topic }, event, payload = {}) {
    const ref = String(++this.ref);
    assert.equal(await this.send([joinRef, ref, topic, event, payload]), 200);
    const [reply] = await this.take(1);
    assert.deepEqual(reply.slice(0, 4), [joinRef, ref, topic, 'phx_reply']);
    return reply[4].response;
  }
}

export const heartbeat = (ref) => [null, ref, 'phoenix', 'heartbeat', {}];
export const beaten = (ref) => [null, ref, 'phoenix', 'phx_reply', { status: 'ok', response: {} }];

// How many requests a session has in hand, as the kernel shows their sockets.
export const waits = (poller) => {
  const name = Buffer.from(poller.token.split('.')[1], 'base64url').toString('latin1').match(/lp-[\w-]{22}/)[0];
  const listed = fs.readFileSync('/proc/net/unix', 'utf8').split('\n');
  return listed.filter((line) => line.endsWith(`/${name}`)).length - 1;
};

// Begins a poll, which waits at its session now: { answer }.
export async function beginPoll(poller, options) {
  await until(() => waits(poller) === 0, 'the ends of requests before');
  const answer = poller.request('GET', options);
  answer.catch(() => {});
  // Who has connected has not said yet what it wants.
  await until(() => waits(poller) === 1, 'the poll');
  await rested(poller.server);
  return { answer };
}

// The sockets of sessions.
export const sockets = (server) => fs.readdirSync(server.run).filter((name) => name.startsWith('lp-'));

// The processes of sessions.
export const sessions = (server) => server.workers('transport').filter((p) => / longpoll /.test(p.title));
