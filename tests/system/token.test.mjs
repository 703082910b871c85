// Tokens: signed here and verified by another implementation, and the other way
// round; by channels, HTTP handlers and connect. The secret and who has it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { Client } from './lib/client.mjs';
import { atom, sign, signTerm, term, tuple, verify } from './lib/phoenix-token.mjs';
import { build, Server, start, temporary } from './lib/server.mjs';

const SECRET = 'c2VjcmV0IG9mIHRoZXNlIHRlc3Rz'.repeat(3);
const DAY = 86_400_000;

function withSecret(text, mode = 0o600) {
  const directory = temporary();
  fs.writeFileSync(path.join(directory, 'secret'), text, { mode });
  return directory;
}

const application = {
  socket: { module: 'token.so:user_socket' },
  channels: { '*': { module: 'token.so:channel', intensity: 0 } },
};
const endpoint = { module: 'token.so:endpoint' };
const withFile = { ...endpoint, secret_file: 'secret' };

async function startHere(t, options = {}) {
  const directory = options.directory ?? withSecret(`${SECRET}\n`);
  const server = await start(t, { ...application, endpoint: withFile, ...options, directory });
  server.ownsDirectory = true;
  return server;
}

const server = await startHere({ after });

const connect = (token, to = server) => Client.open(`${to.url()}&token=${token}`);

async function channelOf(t, to = server, params = {}) {
  const client = await connect(sign(SECRET, 'user', 'u1'), to);
  t.after(() => client.close());
  return client.join('any', params);
}

async function post(what, salt, body, to = server) {
  const response = await fetch(`http://127.0.0.1:${to.port}/${what}?salt=${encodeURIComponent(salt)}`, { method: 'POST', body });
  return { status: response.status, body: await response.text() };
}

const invalid = { status: 'error', response: { why: 'EBADMSG' } };
const expired = { status: 'error', response: { why: 'ETIME' } };

test('what a channel signs others verify', async (t) => {
  const channel = await channelOf(t);
  const before = Date.now();
  const { token } = await channel.ok('sign', { salt: 'user socket', data: '{"id":42,"name":"Zo\\u00eb"}' });
  const content = verify(SECRET, 'user socket', token);
  const data = term({ id: 0, name: 'Zoë' });
  const small = Buffer.from([97, 42]); // id: one byte, as Erlang has it
  const at = data.indexOf(Buffer.from([98, 0, 0, 0, 0]));
  const wanted = Buffer.concat([data.subarray(0, at), small, data.subarray(at + 5)]);
  assert.deepEqual(content.subarray(0, 3), Buffer.from([131, 104, 3]));
  assert.deepEqual(content.subarray(3, 3 + wanted.length), wanted);
  const rest = content.subarray(3 + wanted.length);
  assert.deepEqual(rest.subarray(0, 3), Buffer.from([110, 6, 0]));
  const signedAt = rest.readUIntLE(3, 6);
  assert.ok(signedAt >= before - 1 && signedAt <= Date.now() + 1);
  assert.deepEqual(rest.subarray(9), term(86400));
  assert.equal(verify(SECRET, 'user sockets', token), null);
});

test('what others sign a channel verifies: its age, its salt, older forms', async (t) => {
  const channel = await channelOf(t);
  const now = Date.now();
  const salt = 'user socket';
  const check = (token, max_age) => channel.call('verify', { salt, token, max_age });
  const good = (token, max_age) => channel.ok('verify', { salt, token, max_age });
  const data = { id: 7, who: 'Zoë', no: null };
  assert.deepEqual(await good(sign(SECRET, salt, data)), data);
  assert.deepEqual(await good(sign(SECRET, salt, 'u1'), 86400), 'u1');

  assert.deepEqual(await check(sign(SECRET, 'other', data)), invalid);
  assert.deepEqual(await check(sign(`${SECRET}x`, salt, data)), invalid);
  assert.deepEqual(await check('x'), invalid);
  assert.deepEqual(await check('x'.repeat(100_000)), invalid);

  const old = sign(SECRET, salt, 1, { signedAt: now - DAY - 60_000 });
  assert.deepEqual(await check(old), expired);
  assert.deepEqual(await check(old, 86400), expired);
  assert.equal(await good(old, 2 * 86400), 1);
  assert.equal(await good(old, -1), 1);
  const hour = sign(SECRET, salt, 1, { signedAt: now - 3_700_000, maxAge: 3600 });
  assert.deepEqual(await check(hour), expired);
  assert.equal(await good(hour, 86400), 1);
  const ever = sign(SECRET, salt, 1, { signedAt: 1, maxAge: Infinity });
  assert.equal(await good(ever), 1);
  assert.deepEqual(await check(ever, 0), expired);

  const ms = term(BigInt(now));
  assert.equal(await good(signTerm(SECRET, salt, tuple(term('pair'), ms))), 'pair');
  const map = Buffer.concat([Buffer.from([116, 0, 0, 0, 2]), atom('data'), term('map'), atom('signed'), ms]);
  assert.equal(await good(signTerm(SECRET, salt, map)), 'map');
  assert.deepEqual(await good(sign(SECRET, salt, tuple(atom('user'), term(1)))), ['user', 1]);
  const bytes = Buffer.from([109, 0, 0, 0, 1, 255]);
  assert.deepEqual(await check(sign(SECRET, salt, bytes)), { status: 'error', response: { why: 'EOPNOTSUPP' } });
});

test('numbers keep their digits, texts their characters', async (t) => {
  const channel = await channelOf(t);
  for (const data of ['12345678901234567890123', '-9007199254740993', '0.1', '"\\u0000"', '[]', '{"a":[{}]}', 'null']) {
    const { token } = await channel.ok('sign', { salt: 's', data });
    const ref = channel.send('verify', { salt: 's', token });
    const [, , , , reply] = await channel.client.take((frame) => frame[1] === ref, 'the reply');
    assert.deepEqual(reply.response, JSON.parse(data));
    assert.equal((await post('verify', 's', token)).body, data);
  }
});

test('what cannot be signed', async (t) => {
  const channel = await channelOf(t);
  const why = async (data, salt = 's') => (await channel.call('sign', { salt, data })).response.why;
  assert.equal(await why(`"${'x'.repeat(33_000)}"`), 'E2BIG');
  assert.equal(await why('['.repeat(101) + ']'.repeat(101)), 'E2BIG');
  assert.equal(await why('9'.repeat(1300)), 'ERANGE');
  assert.equal(await why('1', 's'.repeat(1001)), 'ENAMETOOLONG');
  // Else it would be a session of long poll.
  assert.equal(await why('"session 0"', 'bennu longpoll'), 'EPERM');
  assert.match((await post('sign', 'bennu longpoll', '1')).body, /EPERM/);
  const session = sign(SECRET, 'bennu longpoll', 'session 0');
  assert.equal((await channel.call('verify', { salt: 'bennu longpoll', token: session })).response.why, 'EPERM');
  const { token } = await channel.ok('sign', { salt: 's'.repeat(1000), data: `"${'x'.repeat(32_000)}"` });
  assert.equal((await post('verify', 's'.repeat(1000), token)).body.length, 32_002);
});

test('more salts than are kept', async (t) => {
  const channel = await channelOf(t);
  for (let round = 0; round < 2; round++)
    for (let i = 0; i < 40; i++) {
      const { token } = await channel.ok('sign', { salt: `salt ${i}`, data: `${i}` });
      assert.notEqual(verify(SECRET, `salt ${i}`, token), null);
    }
});

test('HTTP handlers sign and verify', async () => {
  const { status, body: token } = await post('sign', 'http', '[1,"two"]');
  assert.equal(status, 200);
  assert.notEqual(verify(SECRET, 'http', token), null);
  assert.deepEqual(await post('verify', 'http', token), { status: 200, body: '[1,"two"]' });
  const bad = await post('verify', 'other', token);
  assert.equal(bad.status, 400);
  assert.match(bad.body, /EBADMSG/);
});

async function join(client, topic, params = {}) {
  const ref = client.nextRef();
  client.frame([ref, ref, topic, 'phx_join', params]);
  return (await client.take((frame) => frame[1] === ref, 'the answer'))[4];
}

async function refused(url) {
  await assert.rejects(Client.open(url), /403/);
}

test('connect verifies and signs; channels see what came of it', async (t) => {
  const client = await connect(sign(SECRET, 'user', 'u1'));
  t.after(() => client.close());
  const { response } = await join(client, 'any');
  assert.equal(response.data, '"u1"');
  assert.notEqual(verify(SECRET, 'made', response.made), null);
  await refused(server.url());
  await server.log(/no entry: ENOENT/);
  await refused(`${server.url()}&token=abc`);
  await server.log(/no entry: EBADMSG/);
  await refused(`${server.url()}&token=${sign(SECRET, 'user', 'u1', { signedAt: Date.now() - 2 * DAY })}`);
  await server.log(/no entry: ETIME/);
});

test('a connect that crashes behind a token costs that client, nobody else', async (t) => {
  await assert.rejects(Client.open(`${server.url()}&token=${sign(SECRET, 'user', 'u1')}&crash=1`), /500/);
  const client = await connect(sign(SECRET, 'user', 'u2'));
  t.after(() => client.close());
});

test('join verifies', async (t) => {
  const client = await connect(sign(SECRET, 'user', 'u1'));
  t.after(() => client.close());
  assert.deepEqual(await join(client, 'a', { token: sign(SECRET, 'join', { id: 1 }) }), { status: 'ok', response: { id: 1 } });
  assert.deepEqual(await join(client, 'b', { token: 'x' }), invalid);
});

// Behind the last question the rest of terminate runs.
test('terminate: a transport that was killed signs nothing', async (t) => {
  const own = await startHere(t);
  await channelOf(t, own);
  process.kill(own.workers('transport')[0].pid, 'SIGKILL');
  assert.equal((await own.log(/terminate 5: (.*)/))[1], 'EIO');
});

// BENNU_* of <bennu/channel.h>.
const reasons = { LEFT: 4, CLOSED: 5, DRAINING: 6 };
for (const [reason, end] of [
  ['LEFT', (channel) => channel.leave()],
  ['CLOSED', (channel) => channel.client.close()],
  ['CLOSED', (channel) => channel.client.socket.terminate()],
  ['DRAINING', (channel, to) => to.child.kill('SIGTERM')],
])
  test(`terminate signs: ${reason}`, async (t) => {
    const own = await startHere(t);
    const channel = await channelOf(t, own);
    await end(channel, own);
    const [, token] = await own.log(new RegExp(`terminate ${reasons[reason]}: (.*)`));
    assert.notEqual(verify(SECRET, 'last', token), null, token);
  });

test('many ask at once, while channels die', async (t) => {
  const channels = await Promise.all(Array.from({ length: 8 }, () => channelOf(t)));
  await Promise.all(channels.map(async (channel, n) => {
    for (let i = 0; i < 40; i++) {
      if (n % 2 === 0 && i % 10 === 9) channel.send('crash', {});
      const { token } = await channel.ok('sign', { salt: 's', data: `${i}` });
      assert.equal(await channel.ok('verify', { salt: 's', token }), i);
    }
  }));
});

// ---- the secret ----

test('a token outlives the server when its secret is in a file', async (t) => {
  const directory = withSecret(SECRET);
  const tokens = [];
  for (let round = 0; round < 2; round++) {
    const one = await startHere(t, { directory });
    tokens.push((await post('sign', 's', '1', one)).body);
    for (const token of tokens) assert.equal((await post('verify', 's', token, one)).body, '1');
    one.ownsDirectory = round === 1;
    await one.stop();
  }
});

test('without a file the secret is a random one', async (t) => {
  const servers = await Promise.all([1, 2].map(() => start(t, { ...application, endpoint })));
  const [{ body: token }] = await Promise.all(servers.map((one) => post('sign', 's', '1', one)));
  assert.equal((await post('verify', 's', token, servers[0])).status, 200);
  assert.equal((await post('verify', 's', token, servers[1])).status, 400);
  for (const one of servers) assert.match(one.logText, /tokens do not outlive this server/);
});

for (const [what, text, why] of [
  ['too short', 'x'.repeat(63), /a secret of 63 characters can be guessed; make it 64 or more/],
  ['two lines', `${'x'.repeat(64)}\n${'y'.repeat(64)}\n`, /one line of visible ASCII characters/],
  ['too long', 'x'.repeat(1001), /1000 characters at most/],
])
  test(`a secret that is ${what} is refused at the start`, async () => {
    const bad = new Server({ directory: withSecret(text), endpoint: withFile });
    bad.ownsDirectory = true;
    await bad.ends(11);
    assert.match(bad.logText, why);
    assert.match(bad.logText, /endpoint\.secret_file \//);
  });

test('a secret that is not there is refused at the start', async () => {
  const bad = new Server({ endpoint: { secret_file: 'nowhere' } });
  await bad.exited;
  assert.ok(!fs.existsSync(bad.run));
  await bad.ends(11);
  assert.match(bad.logText, /nowhere: No such file or directory/);
});

test('a secret that everybody may read is warned about', async (t) => {
  const open = await startHere(t, { directory: withSecret(SECRET, 0o644) });
  assert.match(open.logText, /everybody may read this secret/);
});

// ---- bennu token ----

const bennu = (args, input = '') => {
  const { status, stdout, stderr } = spawnSync(path.join(build, 'supervisor/bennu'), args, { input, encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
};

test('bennu token signs and verifies with the secret of a server', async () => {
  const directory = withSecret(`${SECRET}\n`);
  const file = path.join(directory, 'secret');
  const config = path.join(directory, 'bennu.conf');
  fs.writeFileSync(config, 'endpoint { secret_file = "secret" }');
  const signed = bennu(['-c', config, 'token', 'sign', 'salt', '{"id":1}']);
  assert.deepEqual([signed.status, signed.err], [0, '']);
  const token = signed.out.trim();
  assert.notEqual(verify(SECRET, 'salt', token), null);
  assert.deepEqual(bennu(['token', 'verify', '-s', file, 'salt', token]), { status: 0, out: '{"id":1}\n', err: '' });
  assert.deepEqual(bennu(['token', 'verify', '--secret-file', file, 'salt', '-'], signed.out), { status: 0, out: '{"id":1}\n', err: '' });
  assert.equal((await post('verify', 'salt', token)).body, '{"id":1}');

  const forever = bennu(['token', 'sign', '-m', 'infinity', '-s', file, 's', '-'], '-1\n').out.trim();
  assert.notEqual(verify(SECRET, 's', forever).indexOf(atom('infinity')), -1);
  assert.deepEqual(bennu(['token', 'verify', '-s', file, 's', forever]).out, '-1\n');

  const old = sign(SECRET, 's', 1, { signedAt: Date.now() - 2 * DAY });
  assert.deepEqual(bennu(['token', 'verify', '-s', file, 's', old]), { status: 1, out: '', err: 'bennu: the token is expired\n' });
  assert.equal(bennu(['token', 'verify', '-m', '999999', '-s', file, 's', old]).out, '1\n');
  assert.equal(bennu(['token', 'verify', '-m', 'infinity', '-s', file, 's', old]).out, '1\n');
  assert.deepEqual(bennu(['token', 'verify', '-s', file, 't', old]), { status: 1, out: '', err: 'bennu: the token is invalid\n' });
  fs.rmSync(directory, { recursive: true });
});

test('bennu token: what comes by standard input has no NUL, not even at its end', () => {
  const directory = withSecret(SECRET);
  for (const input of ['1\0', '\0', '1\0\n', '\x001'])
    assert.deepEqual(bennu(['token', 'sign', '-s', path.join(directory, 'secret'), 's', '-'], input), {
      status: 2, out: '', err: 'bennu: standard input: a NUL in it\n',
    });
  fs.rmSync(directory, { recursive: true });
});

test('what is wrong with bennu token', () => {
  const directory = withSecret('short');
  const file = path.join(directory, 'secret');
  const wrong = (args, status, why) => {
    const end = bennu(args);
    assert.equal(end.status, status, end.err);
    assert.equal(end.out, '');
    assert.match(end.err, why);
  };
  wrong(['token'], 2, /usage/);
  wrong(['token', 'sign', 'salt'], 2, /usage/);
  wrong(['token', 'make', 'salt', '1'], 2, /usage/);
  wrong(['token', 'sign', '-x', 'salt', '1'], 2, /usage/);
  wrong(['token', 'sign', 'salt', '1'], 2, /no secret: name the configuration/);
  wrong(['token', 'sign', '-m', '1d', '-s', file, 'salt', '1'], 2, /number of seconds, or infinity: '1d'/);
  wrong(['token', 'sign', '-s', file, 'salt', '1'], 1, /a secret of 5 characters can be guessed/);
  wrong(['token', 'sign', '-s', `${file}x`, 'salt', '1'], 1, /No such file/);
  fs.writeFileSync(file, SECRET);
  wrong(['token', 'sign', '-s', file, 'salt', 'text'], 2, /'text' is no JSON/);
  wrong(['token', 'sign', '-s', file, 'salt', '9'.repeat(2000)], 2, /number is too large/);
  wrong(['token', 'sign', '-s', file, 'salt', `"${'x'.repeat(40_000)}"`], 2, /too large/);
  fs.rmSync(directory, { recursive: true });
});
