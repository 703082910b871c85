// Waiting for events. Every wait has a deadline, long enough for a slow machine
// with sanitizers: it is only there so that a failure ends.
import { setTimeout as delay } from 'node:timers/promises';

const slow = process.env.BENNU_ASAN === '1';

export const DEADLINE = slow ? 60_000 : 20_000;

// The promise, or an error that says what did not come.
export async function within(promise, what, ms = DEADLINE) {
  const stop = new AbortController();
  const late = delay(ms, null, { signal: stop.signal }).then(
    () => {
      throw new Error(`not within ${ms} ms: ${what()}`);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}

// Asks until the answer is truthy: for what the kernel does not tell (/proc).
export async function until(ask, what, ms = DEADLINE) {
  const end = performance.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (performance.now() > end)
      throw new Error(`not within ${ms} ms: ${typeof what === 'function' ? what() : what}`);
    await delay(10);
  }
}

// Things that come one by one, and who waits for the first that fits.
export class Inbox {
  constructor() {
    this.items = [];
    this.waiting = new Set();
    this.end = null;
  }

  add(item) {
    for (const waiter of this.waiting) {
      if (!waiter.fits(item)) continue;
      this.waiting.delete(waiter);
      waiter.resolve(item);
      return;
    }
    this.items.push(item);
  }

  // Nothing more will come.
  close(why) {
    this.end = why;
    for (const waiter of this.waiting)
      waiter.reject(new Error(`${why} while waiting for ${waiter.what}`));
    this.waiting.clear();
  }

  // Takes the first that fits, now or later.
  take(fits, what, ms = DEADLINE) {
    const at = this.items.findIndex(fits);
    if (at !== -1) return Promise.resolve(this.items.splice(at, 1)[0]);
    if (this.end !== null)
      return Promise.reject(new Error(`${this.end}; there is no ${what}`));
    let waiter;
    const found = new Promise((resolve, reject) => {
      waiter = { fits, what, resolve, reject };
      this.waiting.add(waiter);
    });
    return within(found, () => `${what}; there is ${JSON.stringify(this.items).slice(0, 2000)}`, ms)
      .finally(() => this.waiting.delete(waiter));
  }
}
