// How times, durations and payloads are written on the page.

export function clock(date) {
  const pad = (value, width) => String(value).padStart(width, "0");
  return [
    pad(date.getHours(), 2),
    pad(date.getMinutes(), 2),
    `${pad(date.getSeconds(), 2)}.${pad(date.getMilliseconds(), 3)}`,
  ].join(":");
}

export function milliseconds(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  if (minutes > 0) return `${minutes} min ${seconds % 60} s`;
  return `${seconds} s`;
}

export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

// What a worker is called besides its role: a topic, an address, else its
// number.
export function nameOf({ id, role, title }) {
  return title || id.slice(role.length + 1);
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
