// Phoenix.Token, with the primitives of node: as Plug.Crypto makes a token and
// takes it apart. Knows as much of Erlang's terms as the tests need.
import { createHmac, pbkdf2Sync, timingSafeEqual } from 'node:crypto';

export const key = (secret, salt) => pbkdf2Sync(secret, salt, 1000, 32, 'sha256');

const u32 = (n) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n >>> 0);
  return bytes;
};
const big = (n) => {
  const bytes = [];
  for (let left = n; left > 0n; left >>= 8n) bytes.push(Number(left & 255n));
  return Buffer.from([110, bytes.length, 0, ...bytes]);
};
export const atom = (name) => Buffer.concat([Buffer.from([119, name.length]), Buffer.from(name)]);
export const tuple = (...terms) => Buffer.concat([Buffer.from([104, terms.length]), ...terms]);

// Numbers, strings, null, objects.
export function term(value) {
  if (value === null) return atom('nil');
  if (typeof value === 'bigint') return big(value);
  if (typeof value === 'number') return Buffer.concat([Buffer.from([98]), u32(value)]);
  if (typeof value === 'string')
    return Buffer.concat([Buffer.from([109]), u32(Buffer.byteLength(value)), Buffer.from(value)]);
  const pairs = Object.entries(value);
  return Buffer.concat([
    Buffer.from([116]), u32(pairs.length), ...pairs.flatMap((pair) => pair.map(term)),
  ]);
}

const mac = (secret, salt, text) => createHmac('sha256', key(secret, salt)).update(text).digest();

// What is signed: a term, or more than one.
export function signTerm(secret, salt, content) {
  const payload = Buffer.concat([Buffer.from([131]), content]).toString('base64url');
  const text = `SFMyNTY.${payload}`;
  return `${text}.${mac(secret, salt, text).toString('base64url')}`;
}

export const sign = (secret, salt, data, { signedAt = Date.now(), maxAge = 86400 } = {}) =>
  signTerm(secret, salt, tuple(
    Buffer.isBuffer(data) ? data : term(data), big(BigInt(signedAt)),
    maxAge === Infinity ? atom('infinity') : term(maxAge),
  ));

// The term that a token holds, or null.
export function verify(secret, salt, token) {
  const [head, payload, signature, ...more] = token.split('.');
  const text = `${head}.${payload}`;
  const given = Buffer.from(signature ?? '', 'base64url');
  const good = mac(secret, salt, text);
  if (more.length > 0 || given.length !== good.length || !timingSafeEqual(given, good)) return null;
  return Buffer.from(payload, 'base64url');
}
