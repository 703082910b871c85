// The live process tree. It is asked for again and again; what is new, what
// was replaced and what died is found by comparing with the answer before.
import { socket } from "./socket.js";
import { createStore, useStore } from "./store.js";

const POLL_MS = 700;
const ANSWER_MS = 4000;
const GHOST_MS = 2500; // the dead stay visible for as long
const FORMER_MS = 8000; // and the pid before the present one

// status: loading, live, off (the server has no such route), lost.
// root: the supervisor, its children merged with what was there before.
// transport: the pid of the worker that serves this page's socket.
// seen: topic -> { pid, changes } for this page's channels.
export const tree = createStore({
  status: "loading",
  root: null,
  more: 0,
  transport: null,
  seen: new Map(),
});

let timer = null;
let polling = null;

// The tasks of a channel share their id.
function keyOf({ role, id, pid }) {
  return role === "task" ? `${id} ${pid}` : id;
}

function bury(node, time) {
  return {
    ...node,
    diedAt: node.diedAt ?? time,
    children: node.children.map((child) => bury(child, time)),
  };
}

function mergeChildren(before, children, time) {
  const fresh = new Map(children.map((child) => [keyOf(child), child]));
  const merged = [];
  for (const old of before?.children ?? []) {
    const now = fresh.get(keyOf(old));
    if (now) {
      merged.push(merge(old, now, time));
      fresh.delete(keyOf(old));
    } else {
      const ghost = bury(old, time);
      if (time - ghost.diedAt < GHOST_MS) merged.push(ghost);
    }
  }
  for (const now of fresh.values()) merged.push(merge(null, now, time));
  return merged;
}

function merge(before, now, time) {
  const replaced = before !== null && before.pid !== now.pid;
  const bornAt = before === null || replaced ? time : before.bornAt;
  const former = replaced ? before.pid : before?.formerPid;
  return {
    ...now,
    bornAt,
    formerPid: time - bornAt < FORMER_MS ? former : undefined,
    children: mergeChildren(before, now.children ?? [], time),
  };
}

// What is there at the first look is not new.
function settle(node) {
  return { ...node, bornAt: 0, children: node.children.map(settle) };
}

function note(seen, topic, pid) {
  const known = seen.get(topic);
  if (known?.pid === pid) return seen;
  const changes = known ? known.changes + 1 : 0;
  return new Map(seen).set(topic, { pid, changes });
}

function findTransport({ root, transport }) {
  return root?.children.find(
    ({ pid, diedAt }) => pid === transport && diedAt === undefined
  );
}

function findChannel(state, topic) {
  return findTransport(state)?.children.find(
    ({ role, title, diedAt }) =>
      role === "channel" && title === topic && diedAt === undefined
  );
}

function accept(state, { supervisor, more }, time) {
  const merged = merge(state.root, supervisor, time);
  const root = state.root === null ? settle(merged) : merged;
  const next = { ...state, status: "live", root, more };
  for (const child of findTransport(next)?.children ?? []) {
    if (child.role === "channel" && child.diedAt === undefined) {
      next.seen = note(next.seen, child.title, child.pid);
    }
  }
  return next;
}

async function poll() {
  try {
    const response = await fetch("/bennu/tree", {
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    if (response.ok) {
      const answer = await response.json();
      tree.set((state) => accept(state, answer, performance.now()));
    } else {
      // 403: this page was not loaded from the machine that it shows.
      const status = [403, 404].includes(response.status) ? "off" : "lost";
      tree.set((state) => ({ ...state, status }));
    }
  } catch {
    tree.set((state) => ({ ...state, status: "lost" }));
  }
}

// A server that has no tree is asked again when it was perhaps another one.
function schedule() {
  if (document.hidden || tree.get().status === "off") return;
  timer = setTimeout(refreshTree, POLL_MS);
}

// Looks at the tree now; who asks while a look is under way shares the next.
export async function refreshTree() {
  await polling;
  clearTimeout(timer);
  polling ??= poll().then(() => {
    polling = null;
    schedule();
  });
  return polling;
}

export function watchTree() {
  socket.onOpen(refreshTree);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) refreshTree();
  });
  refreshTree();
}

// What a channel said about itself. While there is a tree that one is asked
// for the channel's pid: two sources would differ for a moment.
export function learnPids(topic, { channel, transport }) {
  tree.set((state) => ({
    ...state,
    transport,
    seen: state.status === "live"
      ? state.seen
      : note(state.seen, topic, channel),
  }));
}

export function findWorker(id) {
  const search = (node) =>
    node.id === id && node.diedAt === undefined
      ? node
      : node.children.map(search).find(Boolean);
  const { root } = tree.get();
  return root ? search(root) : undefined;
}

export function findOwnWorker(topic) {
  return findChannel(tree.get(), topic);
}

// The worker of one of this page's channels: its row in the tree, if there
// is one, its pid and how often that pid has changed.
export function useOwnWorker(topic) {
  const state = useStore(tree);
  const { pid = null, changes = 0 } = state.seen.get(topic) ?? {};
  const worker = findChannel(state, topic);
  return { worker, pid: worker?.pid ?? pid, changes, status: state.status };
}
