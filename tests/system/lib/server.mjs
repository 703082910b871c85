// A real server: its own configuration, run directory, port and session.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from './client.mjs';
import { describe, inSession, leftOf } from './procs.mjs';
import { Inbox, until, within } from './wait.mjs';

const top = fileURLToPath(new URL('../../../', import.meta.url));
export const build = path.resolve(process.env.BENNU_BUILD ?? path.join(top, 'build'));
export const program = path.join(build, 'supervisor/supervisor');
export const modules = path.join(build, 'tests/system');
export const asan = process.env.BENNU_ASAN === '1';

// The environment of a server whose processes are to die by the signals that are
// sent to them, also under a sanitizer.
export const bySignal = {
  ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:handle_segv=0:handle_sigfpe=0`,
};

const running = new Set();

function killAll() {
  for (const server of running)
    for (const { pid } of inSession(server.pid)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it is gone
      }
    }
}
// A test that failed may leave servers behind: they hold up nobody (unref), and
// end with the runner.
process.on('exit', killAll);
for (const signal of ['SIGTERM', 'SIGINT'])
  process.on(signal, () => process.exit(1));

function block(head, keys) {
  const lines = Object.entries(keys).map(([key, value]) =>
    typeof value === 'object' && !Array.isArray(value)
      ? block(key, value)
      : `${key} = ${Array.isArray(value) ? `{${value.map((v) => `"${v}"`).join(', ')}}` : `"${value}"`}`,
  );
  return `${head} {\n${lines.join('\n')}\n}`;
}

// { server, socket, channels: { pattern: keys }, endpoint, services: { name:
// keys }, log } as bennu.conf.
export function configuration({ server, socket, channels, endpoint, services, log } = {}) {
  const all = channels ?? { 'test:*': {} };
  const patterns = Object.fromEntries(
    Object.entries(all).map(([pattern, keys]) => [
      `channel "${pattern}"`,
      { module: 'systest.so:systest', ...keys },
    ]),
  );
  return [
    block('server', { listen: ['127.0.0.1:0'], crash_limit: 0, ...server }),
    block('socket "/socket"', { ...socket, ...patterns }),
    block('endpoint', endpoint ?? {}),
    ...Object.entries(services ?? {}).map(([name, keys]) => block(`service "${name}"`, keys)),
    block('log', log ?? {}),
    '',
  ].join('\n');
}

export function temporary() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'bennu-test-'));
  fs.chmodSync(directory, 0o755); // another user may have to pass
  return directory;
}

export class Server {
  // options: those of configuration(); text: the whole file instead; pubsub:
  // how many workers (2); args, env,
  // stdio, wrap: a command before the program; directory: an old one, again.
  constructor(options = {}) {
    this.directory = options.directory ?? temporary();
    this.ownsDirectory = options.directory === undefined;
    this.pubsub = options.pubsub ?? 2;
    this.run = path.join(this.directory, 'run');
    this.config = path.join(this.directory, 'bennu.conf');
    fs.writeFileSync(this.config, options.text ?? configuration(options));
    this.lines = []; // all of the log
    this.inbox = new Inbox(); // those that nobody has waited for yet
    this.output = '';
    this.stdoutLines = [];
    const args = ['-c', this.config, '-r', this.run, ...(options.args ?? [])];
    const [command, ...before] = [...(options.wrap ?? []), program];
    this.child = spawn(command, [...before, ...args], {
      stdio: ['ignore', 'pipe', 'pipe', ...(options.stdio ?? [])],
      detached: true,
      env: {
        ...process.env,
        BENNU_SERVER_MODULE_DIRECTORY: modules,
        PORT: '',
        BENNU_SERVER_PUBSUB_WORKERS: String(this.pubsub),
        ...options.env,
      },
    });
    this.pid = this.child.pid;
    running.add(this);
    for (const handle of this.#handles()) handle.unref();
    this.child.stdout.on('data', (data) => {
      this.output += data;
    });
    this.child.stderr.setEncoding('utf8').on('data', (data) => this.#log(data));
    this.#exited = new Promise((resolve) =>
      this.child.once('exit', (code, signal) => resolve({ code, signal })),
    );
    this.#closed = new Promise((resolve) => this.child.once('close', resolve));
    this.child.once('close', () => this.inbox.close('the server has ended'));
  }

  #exited;
  #closed;

  #handles() {
    return [this.child, this.child.stdout, this.child.stderr];
  }

  // { code, signal }. Who asks waits for it.
  get exited() {
    for (const handle of this.#handles()) handle.ref();
    return this.#exited;
  }

  // All who held its standard error have ended.
  get closed() {
    for (const handle of this.#handles()) handle.ref();
    return this.#closed;
  }

  #rest = '';
  #log(data) {
    const lines = (this.#rest + data).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) {
      this.lines.push(line);
      this.inbox.add(line);
      if (process.env.BENNU_TEST_LOG === '1') console.error(line);
    }
  }

  get logText() {
    return this.lines.join('\n');
  }

  // The next line of the log that matches; each is found once.
  async log(pattern, ms) {
    const line = await this.inbox.take(
      (l) => pattern.test(l),
      `a line of the log: ${pattern}`,
      ms,
    );
    return pattern.exec(line);
  }

  // How many lines match.
  count(pattern) {
    return this.lines.filter((line) => pattern.test(line)).length;
  }

  async ready() {
    const [, address] = await this.log(/listening on (?:http:\/\/)?([^/#]\S*)/);
    const [, host, port] = /^(.*):(\d+)\//.exec(address) ?? [];
    this.address = address;
    this.host = host;
    this.port = Number(port);
    this.token = /#token=(\w+)/.exec(address)?.[1];
    return this;
  }

  url(query = 'vsn=2.0.0') {
    return `ws://127.0.0.1:${this.port}/socket/websocket?${query}`;
  }

  // A client with its socket open.
  connect(options) {
    return Client.open(this.url(), options);
  }

  // Its processes, and those of a role: "transport", "channel", "pubsub".
  processes() {
    return inSession(this.pid).filter((p) => p.state !== 'Z');
  }

  workers(role) {
    return this.processes().filter(
      (p) => p.pid !== this.pid && `${p.title} `.startsWith(`bennu: ${role} `),
    );
  }

  // All that is below pid.
  below(pid) {
    return this.processes().filter((p) => p.ppid === pid);
  }

  // The processes as ROLE: NUMBER.
  census(processes = this.processes()) {
    const census = {};
    for (const p of processes) {
      const role = /^bennu: (\w+)/.exec(p.title)?.[1] ?? p.comm;
      census[role] = (census[role] ?? 0) + 1;
    }
    return census;
  }

  // Until the processes are as many of each role as expected. Who is dead counts
  // with the supervisor (limits, descriptors) until it has looked.
  async settles(expected) {
    const all = { supervisor: 1, pubsub: this.pubsub, presence: 1, ...expected };
    for (const role of Object.keys(all)) if (all[role] === 0) delete all[role];
    const same = () => {
      const processes = inSession(this.pid);
      if (processes.some((p) => p.state === 'Z' && p.ppid === this.pid)) return false;
      const census = this.census(processes.filter((p) => p.state !== 'Z'));
      return (
        Object.keys(census).length === Object.keys(all).length &&
        Object.entries(all).every(([role, n]) => census[role] === n)
      );
    };
    try {
      await until(same, 'census');
    } catch (error) {
      assert.deepEqual(this.census(), all);
      throw error;
    }
  }

  // Nothing of it is left, and it has said nothing that it should not.
  async isGone(ms) {
    await until(
      () => leftOf(this.pid).length === 0,
      () => `no process left of: ${JSON.stringify(leftOf(this.pid))}`,
      ms,
    );
    await within(this.closed, () => 'the end of its standard error');
    running.delete(this);
    const bad = this.lines.filter((line) =>
      /AddressSanitizer|runtime error|Assertion/.test(line),
    );
    assert.deepEqual(bad, [], this.logText.slice(-4000));
  }

  // SIGTERM: it ends in order, and nothing of it stays. With another code it
  // ends by itself.
  stop({ code = 0 } = {}) {
    if (code === 0 && this.child.exitCode === null && this.child.signalCode === null)
      this.child.kill('SIGTERM');
    return this.ends(code);
  }

  // It ends by itself.
  async ends(code, ms) {
    const end = await within(this.exited, () => `the end; ${JSON.stringify(inSession(this.pid))}`, ms);
    try {
      assert.deepEqual(end, { code, signal: null }, this.logText.slice(-4000));
      await this.isGone();
    } finally {
      this.removeDirectory();
    }
  }

  // kill -9, without a word.
  async kill() {
    this.child.kill('SIGKILL');
    await within(this.exited, () => 'the end');
  }

  removeDirectory() {
    if (!this.ownsDirectory) return;
    fs.rmSync(this.directory, { recursive: true, force: true });
  }
}

// Ready; stopped and looked after when the test (or suite) ends.
export async function start(t, options) {
  const server = new Server(options);
  t.after(() => server.stop());
  return server.ready();
}

export { describe };
