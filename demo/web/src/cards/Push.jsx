// Who pushes needs no socket: a request of HTTP reaches all clients of a topic.
import { useRef, useState } from "react";
import Card from "../components/Card.jsx";
import { useChannel } from "../lib/channels.js";
import { clock, milliseconds } from "../lib/format.js";
import { useSocket } from "../lib/socket.js";

const MOUNT = "/push_socket";
const API = "/api/push";
const TOPIC = "news";
const KEPT = 5;

// What was typed: JSON where it is some, else text.
function dataOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// Null: done.
async function request(body) {
  try {
    const response = await fetch(API, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.ok) return null;
    const { error } = await response.json().catch(() => ({}));
    return error ?? `status ${response.status}`;
  } catch {
    return "the request had no answer";
  }
}

function Message({ at, event, data, ms }) {
  return (
    <li>
      <time>{clock(at).slice(0, 8)}</time>
      <code className="good">{event}</code>
      <code className="what">{JSON.stringify(data)}</code>
      {ms !== null && <span className="hint">{milliseconds(ms)}</span>}
    </li>
  );
}

export default function Push() {
  const [event, setEvent] = useState("released");
  const [text, setText] = useState('{"sku": 1}');
  const [messages, setMessages] = useState([]);
  const [failed, setFailed] = useState(null);
  const number = useRef(0);
  const since = useRef(null); // when this page sent what has not come yet

  const channel = useChannel(TOPIC, {
    over: useSocket(MOUNT),
    on: {
      msg: (message) => {
        const ms = since.current && performance.now() - since.current;
        since.current = null;
        const entry = { ...message, ms, number: number.current++ };
        setMessages((known) =>
          [{ ...entry, at: new Date() }, ...known].slice(0, KEPT)
        );
      },
    },
  });

  async function send(submitted) {
    submitted.preventDefault();
    since.current = performance.now();
    setFailed(await request({ channel: TOPIC, event, data: dataOf(text) }));
  }

  return (
    <Card title="Push" topic={TOPIC} channel={channel} mount={MOUNT}>
      <form className="line" onSubmit={send}>
        <input
          type="text"
          className="short"
          value={event}
          autoComplete="off"
          aria-label="Event"
          onChange={({ target }) => setEvent(target.value)}
        />
        <input
          type="text"
          className="grow"
          value={text}
          autoComplete="off"
          aria-label="Data"
          onChange={({ target }) => setText(target.value)}
        />
        <button type="submit">POST {API}</button>
      </form>
      {failed && <p className="complaint" role="status">{failed}</p>}
      <ol
        className="pushes"
        aria-label="pushes, newest first"
        aria-live="polite"
      >
        {messages.map((message) => (
          <Message key={message.number} {...message} />
        ))}
      </ol>
    </Card>
  );
}
