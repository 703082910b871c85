// Where the tokens of test_token.c come from: the construction of Plug.Crypto,
// written down a second time, on the primitives of node. Terms are put together
// by hand, as Erlang's term_to_binary has them.
//   node token_vectors.mjs >token_vectors.h; clang-format -i token_vectors.h
import { createHmac, pbkdf2Sync } from "node:crypto";

const secret = "0123456789abcdef".repeat(4);
const signed = 1700000000123n; // ms

const bytes = (...b) => Buffer.from(b);
const u32 = (n) => {
    const b = Buffer.alloc(4);
    b.writeUInt32BE(n >>> 0);
    return b;
};
const tuple = (...t) => Buffer.concat([bytes(104, t.length), ...t]);
const small = (n) => bytes(97, n);
const integer = (n) => Buffer.concat([bytes(98), u32(n)]);
const big = (n, large) => {
    const b = [];
    for (let m = n < 0n ? -n : n; m > 0n; m >>= 8n) b.push(Number(m & 255n));
    return large
        ? Buffer.concat([bytes(111), u32(b.length), bytes(n < 0n, ...b)])
        : bytes(110, b.length, n < 0n, ...b);
};
const binary = (s) => {
    const b = Buffer.from(s);
    return Buffer.concat([bytes(109), u32(b.length), b]);
};
const oldAtom = (s) => Buffer.concat([bytes(100, 0, s.length), Buffer.from(s)]);
const atom = (s) => Buffer.concat([bytes(119, s.length), Buffer.from(s)]);
const float = (x) => {
    const b = Buffer.alloc(9);
    b[0] = 70;
    b.writeDoubleBE(x, 1);
    return b;
};
const list = (...t) =>
    Buffer.concat([bytes(108), u32(t.length), ...t, bytes(106)]);
const string = (...b) => bytes(107, 0, b.length, ...b);
const map = (...t) =>
    Buffer.concat([bytes(116), u32(t.length / 2), ...t]);

const token = (salt, term) => {
    const key = pbkdf2Sync(secret, salt, 1000, 32, "sha256");
    const payload = Buffer.concat([bytes(131), term]);
    const text =
        Buffer.from("HS256").toString("base64url") + "." +
        payload.toString("base64url");
    return text + "." +
        createHmac("sha256", key).update(text).digest("base64url");
};

const time = big(signed);
const day = integer(86400);
const salt = "user socket";
const huge = -(7n ** 800n); // 281 bytes
const vectors = {
    HUGE: tuple(big(huge, true), time, day),
    NUMBER: tuple(small(99), time, day),
    STRING: tuple(binary("Zoë"), time, day),
    OBJECT: tuple(
        map(
            binary("admin"), atom("false"),
            binary("at"), float(1.5),
            binary("id"), big(12345678901234567890n),
            binary("none"), atom("nil"),
            binary("tags"), list(binary("a"), integer(-7), bytes(106)),
        ), time, day),
    FOREVER: tuple(small(1), time, atom("infinity")),
    HALF: tuple(small(1), time, float(0.5)),
    // Plug.Crypto 1.1
    PAIR: tuple(binary("u1"), time),
    // Phoenix, before that; atoms as before Erlang/OTP 26
    MAP: map(oldAtom("data"), binary("u1"), oldAtom("signed"), time),
    // and with another Erlang's order of keys
    MAP_TURNED: map(atom("signed"), time, atom("data"), binary("u1")),
    ERLANG: tuple(
        map(
            oldAtom("role"), oldAtom("admin"),
            oldAtom("pair"), tuple(small(1), oldAtom("nil")),
            oldAtom("bytes"), string(1, 2, 255),
        ), time, day),
    PID: tuple(
        Buffer.concat([
            bytes(88), oldAtom("nonode@nohost"), u32(113), u32(0), u32(0),
        ]), time, day),
};
const key = pbkdf2Sync(secret, salt, 1000, 32, "sha256").toString("hex");
const define = (name, text) =>
    `#define ${name} \\\n` +
    text.match(/.{1,68}/g).map((part) => `\t"${part}"`).join(" \\\n");
console.log("/* Made by token_vectors.mjs. */");
console.log(define("VECTOR_SECRET", secret));
console.log(define("VECTOR_SALT", salt));
console.log(define("VECTOR_KEY", key));
console.log(define("VECTOR_HUGE_JSON", `${huge}`));
for (const [name, term] of Object.entries(vectors))
    console.log(define(`VECTOR_${name}`, token(salt, term)));
