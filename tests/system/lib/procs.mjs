// What the kernel says of processes.
import fs from 'node:fs';
import { until } from './wait.mjs';

function read(path) {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch {
    return null;
  }
}

// { pid, comm, state, ppid, pgrp, session, title }, or null when it is gone.
export function describe(pid) {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === null) return null;
  const open = stat.indexOf('(');
  const close = stat.lastIndexOf(')');
  const [state, ppid, pgrp, session] = stat.slice(close + 2).split(' ');
  return {
    pid: Number(pid),
    comm: stat.slice(open + 1, close),
    state,
    ppid: Number(ppid),
    pgrp: Number(pgrp),
    session: Number(session),
    title: Buffer.from(read(`/proc/${pid}/cmdline`) ?? '', 'latin1')
      .toString()
      .split('\0')[0],
  };
}

// All processes of a session: a server is started in one of its own, and a
// child of it cannot leave unless it wants to.
export function inSession(session) {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(describe)
    .filter((process) => process !== null && process.session === session);
}

// Those of a session that are left. Who is dead and was handed over to init is
// init's: when it looks is its own business.
export function leftOf(session) {
  const all = inSession(session);
  const ours = new Set(all.map(({ pid }) => pid));
  return all.filter(({ state, ppid }) => state !== 'Z' || ours.has(ppid));
}

// The signals of a process that it has not taken yet, as bits; none when it is
// gone.
export function pendingSignals(pid) {
  const status = read(`/proc/${pid}/status`) ?? '';
  return BigInt(`0x${/^ShdPnd:\s+(\w+)/m.exec(status)?.[1] ?? 0}`);
}

// SIGSTOP has come to all of them; each is there.
export const stopped = (...pids) =>
  until(() => pids.every((pid) => describe(pid).state === 'T'), () => `the stop of ${pids}`);

export const gone = (pid, ms) =>
  until(() => describe(pid) === null, `the end of ${pid}`, ms);

// All that has come to the transports of a server is dealt with: each sleeps.
// What one has said to another counts when that one is seen asleep behind it;
// there and back, that is three looks.
export const rested = (server) =>
  until(() => {
    const sleeps = () => server.workers('transport').every(({ state }) => state === 'S');
    return sleeps() && sleeps() && sleeps();
  }, 'the transports to rest');

// { fd: what it is }, e.g. { 0: '/dev/null', 3: 'socket:[123]' }.
export function descriptors(pid) {
  const directory = `/proc/${pid}/fd`;
  const all = {};
  for (const fd of fs.readdirSync(directory)) {
    try {
      all[fd] = fs.readlinkSync(`${directory}/${fd}`);
    } catch {
      // it was closed meanwhile
    }
  }
  return all;
}

// The inode of the TCP socket that listens on a port.
export function listenInode(port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6'])
    for (const line of (read(file) ?? '').split('\n')) {
      const fields = line.trim().split(/\s+/);
      if (fields[1]?.endsWith(`:${hex}`) && fields[3] === '0A')
        return Number(fields[9]);
    }
  return null;
}
