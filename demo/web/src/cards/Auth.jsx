// A socket that one opens with a token: who has one for user 7 joins user:7, and
// nobody else's topic.
import { useEffect, useRef, useState } from "react";
import { Socket } from "phoenix";
import Card from "../components/Card.jsx";
import Outcome from "../components/Outcome.jsx";
import { useAsk, useChannel, useChannelState } from "../lib/channels.js";
import { clock, milliseconds } from "../lib/format.js";
import { LoggedWebSocket } from "../lib/frames.js";

const MOUNT = "/auth_socket";
const API = "/api/token";
const KEPT = 4;

// An integer where it is one, as the database of a user would have it.
const idOf = (text) => (/^\d{1,15}$/.test(text) ? Number(text) : text);

const brief = (token) => `${token.slice(0, 12)}…${token.slice(-8)}`;

// { token }, or { why }.
async function askForToken(user) {
  try {
    const response = await fetch(API, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ user_id: idOf(user) }),
    });
    const { token, errors } = await response.json();
    return token ? { token } : { why: errors?.detail ?? response.status };
  } catch {
    return { why: "the request had no answer" };
  }
}

// A socket with these parameters, which gives up at the first refusal.
function openSocket(params, onRefuse) {
  const socket = new Socket(MOUNT, { transport: LoggedWebSocket, params });
  let opened = false;
  socket.onOpen(() => {
    opened = true;
  });
  socket.onError(() => {
    if (opened) return;
    socket.disconnect();
    onRefuse();
  });
  socket.connect();
  return socket;
}

// Joins once, to see what comes of it.
function tryToJoin(socket, topic, done) {
  const channel = socket.channel(topic);
  const started = performance.now();
  const settle = (status) => (response) => {
    channel.leave();
    done({ status, response, ms: performance.now() - started });
  };
  channel
    .join()
    .receive("ok", settle("ok"))
    .receive("error", settle("error"))
    .receive("timeout", settle("timeout"));
}

function Message({ at, event, payload }) {
  const { ms, token, ...rest } = payload;
  return (
    <li>
      <time>{clock(at).slice(0, 8)}</time>
      <code className="good">{event}</code>
      <code className="what">{token ? brief(token) : JSON.stringify(rest)}</code>
      {ms !== undefined && <span className="hint">{milliseconds(ms)}</span>}
    </li>
  );
}

export default function Auth() {
  const [text, setText] = useState("7");
  const [open, setOpen] = useState({ socket: null, user: null, attempt: 0 });
  const [said, setSaid] = useState(null); // of the token, or why there is none
  const [other, setOther] = useState(null);
  const [messages, setMessages] = useState([]);
  const number = useRef(0);

  useEffect(() => () => open.socket?.disconnect(), [open.socket]);

  const add = (event) => (payload) =>
    setMessages((known) =>
      [
        { event, payload, at: new Date(), number: number.current++ },
        ...known,
      ].slice(0, KEPT)
    );
  const { socket, user, attempt } = open;
  const topic = socket && `user:${user}`;
  const channel = useChannel(
    topic,
    { over: socket, on: { push: add("push"), push_timed: add("push_timed") } },
    attempt
  );
  useChannel(
    socket && "recurring",
    { over: socket, on: { new_token: add("new_token") } },
    attempt
  );
  const { state } = useChannelState(channel);
  const [outcomes, ask] = useAsk(channel);

  function use(params, name) {
    setOther(null);
    const opened = openSocket(params, () => {
      setSaid({ bad: true, text: "403: the socket was refused" });
      setOpen((now) => (now.socket === opened ? { ...now, socket: null } : now));
    });
    setOpen((last) => ({
      user: name,
      attempt: last.attempt + 1,
      socket: opened,
    }));
  }

  async function enter(event) {
    event.preventDefault();
    const name = text.trim();
    const { token, why } = await askForToken(name);
    if (!token) {
      setSaid({ bad: true, text: String(why) });
      return;
    }
    setSaid({ text: brief(token) });
    use({ token }, String(idOf(name)));
  }

  function forge() {
    use({ token: "SFMyNTY.g2gDYQduBgAAAAAAAABiAAFRgA.AAAA" }, "7");
  }

  const joined = state === "joined";
  return (
    <Card title="Token" topic={topic} channel={channel} mount={MOUNT}>
      <form className="line" onSubmit={enter}>
        <label className="inline">
          user_id{" "}
          <input
            type="text"
            className="short"
            value={text}
            required
            maxLength={60}
            autoComplete="off"
            onChange={({ target }) => setText(target.value)}
          />
        </label>
        <button type="submit">POST {API}</button>
        <button type="button" onClick={forge}>
          forge one
        </button>
      </form>
      <p className={said?.bad ? "complaint" : "hint"} role="status">
        {said ? said.text : "Phoenix.Token: any Phoenix can verify it."}
      </p>
      <ul className="questions">
        {["push", "push_timed"].map((event) => (
          <li key={event}>
            <button
              type="button"
              disabled={!joined}
              onClick={() => ask(event, event, { n: number.current })}
            >
              {event}
            </button>
            <Outcome outcome={outcomes[event]} />
          </li>
        ))}
        <li>
          <button
            type="button"
            disabled={!joined}
            onClick={() => tryToJoin(socket, `user:${user}0`, setOther)}
          >
            join user:{user ?? "7"}0
          </button>
          <Outcome outcome={other} />
        </li>
      </ul>
      <ol
        className="pushes"
        aria-label="pushes to the user, newest first"
        aria-live="polite"
      >
        {messages.map((message) => (
          <Message key={message.number} {...message} />
        ))}
      </ol>
    </Card>
  );
}
