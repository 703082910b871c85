// kill-demo.mjs ADDRESS SUPERVISOR ROUNDS - see kill-demo, which starts it.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Socket } from "../demo/web/node_modules/phoenix/priv/static/phoenix.mjs";

const [address, supervisorText, roundsText] = process.argv.slice(2);
const supervisor = Number(supervisorText);
const rounds = Number(roundsText);
const PROBE_MS = 1;
const PATIENCE_MS = 10000;
const PUBSUB_LIMIT = 10; // restarts in 10 s; then the supervisor takes its time

// ---- the process tree, from /proc ----

// A process that is gone has no children and no name.
function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function children(pid) {
  const text = read(`/proc/${pid}/task/${pid}/children`).trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

function describe(pid) {
  const title = read(`/proc/${pid}/cmdline`).replace(/\0.*/s, "");
  return { pid, role: read(`/proc/${pid}/comm`).trim(), title };
}

function descendants(pid) {
  return children(pid).flatMap((one) => [describe(one), ...descendants(one)]);
}

function find(role, words = "") {
  return descendants(supervisor).find(
    (one) => one.role === role && ` ${one.title} `.includes(` ${words}`),
  );
}

function forest() {
  const pids = [supervisor, ...descendants(supervisor).map(({ pid }) => pid)];
  const out = execFileSync("ps", ["--forest", "-o", "pid,args", "-p", pids.join()]);
  return out.toString().trimEnd();
}

// ---- clients ----

const counts = { closed: 0, errors: 0 };

function connect(counted) {
  const socket = new Socket(`ws://${address}/socket`, { transport: WebSocket });
  if (counted) socket.onClose(() => counts.closed++);
  socket.connect();
  return socket;
}

function join(socket, topic) {
  const channel = socket.channel(topic, {});
  channel.onError(() => counts.errors++);
  return new Promise((resolve, reject) =>
    channel
      .join()
      .receive("ok", () => resolve(channel))
      .receive("error", (why) => reject(new Error(`${topic}: ${JSON.stringify(why)}`)))
      .receive("timeout", () => reject(new Error(`${topic}: no answer`))),
  );
}

function ask(channel, event) {
  return new Promise((resolve, reject) =>
    channel
      .push(event, {})
      .receive("ok", resolve)
      .receive("error", () => reject(new Error(`${event}: refused`)))
      .receive("timeout", () => reject(new Error(`${event}: no answer`))),
  );
}

// Milliseconds until attempt(done) has called done, tried again and again.
async function until(attempt) {
  const begin = performance.now();
  let done = null;
  while (done === null) {
    if (performance.now() - begin > PATIENCE_MS) {
      throw new Error(`not back after ${PATIENCE_MS / 1000} s`);
    }
    attempt(() => {
      done ??= performance.now();
    });
    await sleep(PROBE_MS);
  }
  return done - begin;
}

// Only an ok counts: what a dying channel had in its hands is an error.
const pong = (channel) => (done) => {
  if (channel.canPush()) channel.push("ping", {}, 5000).receive("ok", done);
};

// From one client to another, through pubsub.
let messages = 0;
const relay = (from, to) => (done) => {
  const id = ++messages;
  const ref = to.on("new_msg", (msg) => {
    if (msg.id === id) {
      to.off("new_msg", ref);
      done();
    }
  });
  from.push("new_msg", { id }, 5000);
};

// ---- kills ----

const round = (ms) => (ms < 10 ? ms.toFixed(1) : ms.toFixed(0));

async function kill(worker, attempt) {
  process.kill(worker.pid, "SIGKILL");
  return until(attempt);
}

async function killOften(often, name, role, words, attempt) {
  const times = [];
  for (let i = 0; i < often; i++) {
    const worker = find(role, words);
    if (worker === undefined) throw new Error(`${name}: no such process`);
    const ms = await kill(worker, attempt);
    times.push(ms);
    const open = counts.closed === 0 ? "open all the time" : "CLOSED";
    console.log(
      `  kill -9 ${String(worker.pid).padEnd(8)} ${name.padEnd(20)}` +
        ` socket ${open}, recovered in ${round(ms)} ms`,
    );
    await sleep(100);
  }
  return times;
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

async function main() {
  const alice = connect(true);
  const bob = connect(false);
  const topics = ["room:lobby", "demo:1", "wild:3:6"];
  const [room, demo, wild] = await Promise.all(topics.map((one) => join(alice, one)));
  const bobs = await join(bob, "room:lobby");
  await until(relay(room, bobs));

  console.log(`\nTwo clients at ${address}; the first has joined ${topics.join(", ")}:\n`);
  console.log(forest());

  console.log("\nChannels, while the client asks each for a pong:\n");
  const all = [];
  for (const channel of [room, demo, wild]) {
    all.push(...(await killOften(rounds, channel.topic, "channel", channel.topic, pong(channel))));
  }

  console.log("\nThe pubsub worker, until a message gets from one client to the other:\n");
  const relayed = await killOften(
    Math.min(rounds, PUBSUB_LIMIT), "pubsub", "pubsub", "", relay(room, bobs));

  const kept = counts.closed === 0 && counts.errors === 0;
  console.log("\nThe client's own transport, which is its connection:\n");
  const transport = describe((await ask(room, "pids")).transport);
  const ms = await kill(transport, pong(room));
  console.log(
    `  kill -9 ${String(transport.pid).padEnd(8)} ${"transport".padEnd(20)}` +
      ` socket closed; the client connected and joined again in ${round(ms)} ms`,
  );

  console.log(
    `\n${all.length} channels killed: recovered in ${round(median(all))} ms (median),` +
      ` ${round(Math.max(...all))} ms (longest)\n` +
      `${relayed.length} pubsub workers killed: ${round(median(relayed))} ms,` +
      ` ${round(Math.max(...relayed))} ms\n` +
      (kept
        ? "Until its own process was killed the socket was open all the time" +
          " and no channel heard of an error."
        : `FAILED: the socket closed, or ${counts.errors} errors of channels came.`),
  );
  return kept ? 0 : 1;
}

main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(`kill-demo: ${error.message}`);
    process.exit(1);
  },
);
