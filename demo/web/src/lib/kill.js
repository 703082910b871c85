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

// Newest first: { number, at, id, title, formerPid, state, ... } with state
// waiting, recovered, replaced, gone, lost or failed.
export const kills = createStore([]);

let number = 0;

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
  return member?.probe ? member : undefined;
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
  const answered = await untilAnswered(member, before.time + PATIENCE_MS);
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

async function measureByTree(worker, before) {
  const pid = await untilReplaced(worker, before.time + PATIENCE_MS);
  const ms = performance.now() - before.time;
  const socketKept = connection.get().opens === before.opens;
  if (pid === undefined) return { state: "lost" };
  if (pid === null) return { state: "gone", socketKept };
  return { state: "replaced", pid, ms, socketKept };
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
  finish(
    which,
    member
      ? await measureByChannel(member, worker, before)
      : await measureByTree(worker, before)
  );
}
