// drain.mjs - see bench/drain. The clients speak as much of the protocol as an
// end needs; sockets of node without a library, since there are thousands.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const [build, count] = process.argv.slice(2);
const n = Number(count);
const AT_ONCE = 64; // being opened
const TICKS = 100; // of /proc/PID/stat, in a second

const here = path.dirname(fileURLToPath(import.meta.url));
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'bennu-drain-'));
const terminated = path.join(directory, 'terminated');
const run = path.join(directory, 'run');

const program = path.join(build, 'supervisor/supervisor');
const server = spawn(
  program,
  ['-c', path.join(here, 'bennu.conf'), '-b', '127.0.0.1', '-p', '0', '-r', run],
  {
    stdio: ['ignore', 'inherit', 'pipe'],
    detached: true, // a session of its own: what is left is found by it
    env: {
      BENNU_SERVER_MODULE_DIRECTORY: path.join(build, 'bench'),
      ...process.env,
      BENCH_DRAIN: terminated,
    },
  },
);
const exited = new Promise((resolve) => server.once('exit', (code, signal) => resolve(code ?? signal)));
process.on('exit', () => {
  if (server.exitCode === null && server.signalCode === null) server.kill('SIGKILL');
  fs.rmSync(directory, { recursive: true, force: true });
});

// ---- what the kernel says ----

const fieldsOf = (pid) => {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
};

// Of the supervisor; and of all whom it has reaped, from their first moment on.
// In s.
function cpu() {
  const [user, system, itsUser, itsSystem] = fieldsOf(server.pid).slice(11, 15).map(Number);
  return { own: (user + system) / TICKS, reaped: (itsUser + itsSystem) / TICKS };
}

const left = () =>
  fs.readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const [state, , , session] = fieldsOf(pid);
      return Number(session) === server.pid && state !== 'Z';
    } catch {
      return false; // it is gone
    }
  }).length;

// The port that the kernel chose is in the table of sockets that listen.
async function portOf(pid) {
  for (;;) {
    const inodes = new Set();
    for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
      try {
        inodes.add(/^socket:\[(\d+)\]$/.exec(fs.readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]);
      } catch {
        // it was closed meanwhile
      }
    }
    for (const line of fs.readFileSync('/proc/net/tcp', 'latin1').split('\n')) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] === '0A' && inodes.has(fields[9])) return parseInt(fields[1].split(':')[1], 16);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

// ---- clients ----

function frame(opcode, payload) {
  const body = Buffer.from(payload);
  if (body.length > 125) throw new Error('too long');
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | body.length, 0, 0, 0, 0]), body]);
}

// Resolves when it has joined; client.end when it is closed.
function open(port, i) {
  const client = { code: 1006, at: 0 };
  const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
  let data = Buffer.alloc(0);
  let upgraded = false;
  let resolveJoined;
  const joined = new Promise((resolve) => {
    resolveJoined = resolve;
  });
  client.end = new Promise((resolve) =>
    socket.once('close', () => {
      client.at ||= performance.now();
      resolveJoined(false);
      resolve();
    }),
  );
  socket.on('error', () => {});
  socket.write(
    'GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n' +
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  );
  const onFrame = (opcode, payload) => {
    if (opcode === 8) {
      client.code = payload.readUInt16BE();
      client.at = performance.now();
      socket.end(frame(8, payload.subarray(0, 2)));
    } else if (payload.includes('"phx_reply"')) {
      resolveJoined(payload.includes('"ok"'));
    } else {
      client.other = payload.toString();
    }
  };
  socket.on('data', (more) => {
    data = Buffer.concat([data, more]);
    if (!upgraded) {
      const at = data.indexOf('\r\n\r\n');
      if (at === -1) return;
      if (!data.toString('latin1', 0, 12).endsWith('101')) socket.destroy();
      data = data.subarray(at + 4);
      upgraded = true;
      socket.write(frame(1, JSON.stringify(['1', '1', `drain:${i}`, 'phx_join', {}])));
    }
    while (data.length >= 2 && data.length >= 2 + (data[1] & 0x7f)) {
      const size = data[1] & 0x7f; // nothing here is longer than 125 bytes
      onFrame(data[0] & 0x0f, data.subarray(2, 2 + size));
      data = data.subarray(2 + size);
    }
  });
  client.joined = joined;
  return client;
}

// ---- the run ----

server.stderr.setEncoding('utf8').on('data', (text) => {
  if (process.env.BENCH_LOG) process.stderr.write(text);
});
const port = await portOf(server.pid);
const clients = [];
let refused = 0;
let next = 0;
const began = performance.now();
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next < n) {
      const client = open(port, next++);
      clients.push(client);
      if (!(await client.joined)) refused++;
    }
  }),
);
const connected = performance.now();

const before = cpu();
let after = before;
const sampling = setInterval(() => {
  try {
    after = cpu();
  } catch {
    // it is gone
  }
}, 20);
const stopped = performance.now();
server.kill('SIGTERM');
await Promise.all(clients.map((client) => client.end));
const code = await exited;
const ended = performance.now();
clearInterval(sampling);

const codes = {};
for (const client of clients) codes[client.code] = (codes[client.code] ?? 0) + 1;
const times = clients.map(({ at }) => at - stopped).sort((a, b) => a - b);
const ms = (t) => Math.round(t);
const told = fs.existsSync(terminated) ? fs.readFileSync(terminated, 'latin1') : '';
const result = {
  connections: n,
  connect_ms: ms(connected - began),
  refused,
  first_close_ms: ms(times[0]),
  median_close_ms: ms(times[n >> 1]),
  last_close_ms: ms(times.at(-1)),
  exit_ms: ms(ended - stopped),
  exit: code,
  codes,
  other_frames: clients.filter((client) => client.other).length,
  terminated: told.split('d').length - 1,
  terminated_otherwise: told.split('x').length - 1,
  supervisor_cpu_s: Number((after.own - before.own).toFixed(2)),
  workers_cpu_s: Number((after.reaped - before.reaped).toFixed(2)),
  processes_left: left(),
  run_directory_left: fs.existsSync(run),
};
result.ok =
  code === 0 && refused === 0 && codes[1012] === n && result.other_frames === 0 &&
  result.terminated === n && result.terminated_otherwise === 0 &&
  result.processes_left === 0 && !result.run_directory_left;
console.log(JSON.stringify(result));
process.exit(result.ok ? 0 : 1);
