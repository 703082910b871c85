// kill -9, and how long it takes until the worker's work is done again.
import { createStore } from "./store.js";
import { members } from "./channels.js";
import { connection } from "./socket.js";
import { sleep } from "./format.js";
import { token, tokenQuestion } from "./token.js";
import { findOwnWorker, findWorker, refreshTree, tree } from "./tree.js";

const PROBE_MS = 5;
const LOOK_MS = 50;
const PATIENCE_MS = 20000;
const GONE_MS = 2000;
const KEPT = 50;

const ROLES = [
  "pubsub",
  "presence",
  "fetch",
  "connect",
  "service",
  "transport",
  "endpoint",
  "channel",
];
const ENDPOINT_PROBE = "/api/superheroes";

// Newest first: { number, at, id, title, formerPid, state, ... } with state
// waiting, recovered, replaced, gone, lost or failed.
export const kills = createStore([]);

let number = 0;

// The server kills no others: a task goes with its channel, and the supervisor
// is for the terminal.
export function canKill({ role }) {
  return ROLES.includes(role);
}

function begin(worker) {
  const entry = {
    number: number++,
    at: new Date(),
    id: worker.id,
    role: worker.role,
    title: worker.title,
    formerPid: worker.pid,
    state: "waiting",
  };
  kills.set((known) => [entry, ...known].slice(0, KEPT));
  return entry.number;
}

function finish(which, result) {
  kills.set((known) =>
    known.map((entry) =>
      entry.number === which ? { ...entry, ...result } : entry
    )
  );
}

async function order(id) {
  const response = await fetch("/bennu/kill", {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-bennu-token": token.get(),
    },
    body: JSON.stringify({ id }),
  });
  if (response.ok) return null;
  if (response.status === 403) tokenQuestion.set("refused");
  const answer = await response.json().catch(() => ({}));
  return answer.error ?? `HTTP status ${response.status}`;
}

// Which of this page's channels shows that the worker's work is done again:
// its own for a channel, any for the transport that serves the page.
function witness(worker) {
  const { transport } = tree.get();
  if (worker.pid === transport) {
    return [...members.values()].find(({ probe }) => probe);
  }
  if (findOwnWorker(worker.title)?.id !== worker.id) return undefined;
  const member = members.get(worker.title);
  return member?.probe || member?.greeting ? member : undefined;
}

// Asks every 5 ms, whenever the channel can be asked. Only an ok counts: the
// message that a dying channel had in its hands is answered with an error.
async function untilAnswered({ channel, probe }, deadline) {
  let answered = null;
  while (answered === null && performance.now() < deadline) {
    if (channel.canPush()) {
      channel.push(probe, {}, 1000).receive("ok", () => {
        answered ??= performance.now();
      });
    }
    await sleep(PROBE_MS);
  }
  return answered;
}

// Waits for what the channel pushes by itself when it was joined again.
async function untilGreeted({ channel, greeting }, deadline) {
  let greeted = null;
  const binding = channel.on(greeting, () => {
    greeted ??= performance.now();
  });
  while (greeted === null && performance.now() < deadline) {
    await sleep(PROBE_MS);
  }
  channel.off(greeting, binding);
  return greeted;
}

async function isServed() {
  try {
    const response = await fetch(ENDPOINT_PROBE, { cache: "no-store" });
    await response.arrayBuffer(); // or the connection is not free again
    return response.ok;
  } catch {
    return false;
  }
}

// An endpoint comes back with the next request over its connection. Which one
// the browser takes is its own affair: the tree says whether it was that one.
async function untilServed({ id, pid }, deadline) {
  let missing = null;
  while (performance.now() < deadline) {
    const served = await isServed();
    const answered = performance.now();
    await refreshTree();
    const now = findWorker(id);
    if (served && now && now.pid !== pid) return { answered, pid: now.pid };
    if (now) missing = null;
    else missing ??= performance.now();
    if (missing !== null && performance.now() - missing > GONE_MS) return null;
    await sleep(PROBE_MS);
  }
  return undefined;
}

// For workers that do not talk to this page: is there another pid?
async function untilReplaced({ id, pid }, deadline) {
  let missing = null;
  while (performance.now() < deadline) {
    await refreshTree();
    const now = findWorker(id);
    if (now && now.pid !== pid) return now.pid;
    if (now) missing = null;
    else missing ??= performance.now();
    if (missing !== null && performance.now() - missing > GONE_MS) return null;
    await sleep(LOOK_MS);
  }
  return undefined;
}

async function measureByChannel(member, worker, before) {
  const requestMs = performance.now() - before.time;
  const until = member.probe ? untilAnswered : untilGreeted;
  const answered = await until(member, before.time + PATIENCE_MS);
  if (answered === null) return { state: "lost" };
  const result = {
    state: "recovered",
    ms: answered - before.time,
    requestMs,
    socketKept: connection.get().opens === before.opens,
    joinKept: member.channel.joinRef() === before.joinRef,
  };
  await refreshTree();
  const pid = worker.role === "channel"
    ? findOwnWorker(worker.title)?.pid
    : tree.get().transport;
  return { ...result, pid };
}

async function measureByRequest(worker, before) {
  const requestMs = performance.now() - before.time;
  const served = await untilServed(worker, before.time + PATIENCE_MS);
  const socketKept = connection.get().opens === before.opens;
  if (served === undefined) return { state: "lost" };
  if (served === null) return { state: "gone", socketKept };
  const { answered, pid } = served;
  const ms = answered - before.time;
  return { state: "recovered", ms, requestMs, socketKept, pid };
}

async function measureByTree(worker, before) {
  const pid = await untilReplaced(worker, before.time + PATIENCE_MS);
  const ms = performance.now() - before.time;
  const socketKept = connection.get().opens === before.opens;
  if (pid === undefined) return { state: "lost" };
  if (pid === null) return { state: "gone", socketKept };
  return { state: "replaced", pid, ms, socketKept };
}

function measure(member, worker, before) {
  if (member) return measureByChannel(member, worker, before);
  if (worker.role === "endpoint") return measureByRequest(worker, before);
  return measureByTree(worker, before);
}

export async function kill(worker) {
  if (token.get() === null) {
    tokenQuestion.set("missing");
    return;
  }
  const which = begin(worker);
  const member = witness(worker);
  const before = {
    time: performance.now(),
    opens: connection.get().opens,
    joinRef: member?.channel.joinRef(),
  };
  try {
    const error = await order(worker.id);
    if (error !== null) {
      finish(which, { state: "failed", error });
      return;
    }
  } catch {
    finish(which, { state: "failed", error: "the request had no answer" });
    return;
  }
  finish(which, await measure(member, worker, before));
}
