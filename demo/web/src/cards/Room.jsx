// A chat room. Its channel is transient: its transport starts it again, and
// nobody in the room sees more than a new pid.
import { useLayoutEffect, useRef, useState } from "react";
import Card from "../components/Card.jsx";
import Outcome from "../components/Outcome.jsx";
import { useAsk, useChannel } from "../lib/channels.js";
import { clock } from "../lib/format.js";
import { learnPids } from "../lib/tree.js";

const TOPIC = "room:lobby";
const KEPT = 100;

function useMessages() {
  const [messages, setMessages] = useState([]);
  const number = useRef(0);
  function add(message) {
    const entry = { ...message, number: number.current++, at: new Date() };
    setMessages((known) => [...known, entry].slice(-KEPT));
  }
  return [messages, add];
}

function Message({ message, own }) {
  const { at, user, body } = message;
  return (
    <li className={body === undefined ? "entered" : own ? "own" : ""}>
      <time>{clock(at).slice(0, 8)}</time> <b>{user}</b>{" "}
      {body === undefined ? "entered" : body}
    </li>
  );
}

function Messages({ messages, user }) {
  const list = useRef(null);
  useLayoutEffect(() => {
    list.current.scrollTop = list.current.scrollHeight;
  }, [messages]);
  return (
    <ol
      ref={list}
      className="messages"
      tabIndex={0}
      aria-label="messages"
      aria-live="polite"
    >
      {messages.map((message) => (
        <Message
          key={message.number}
          message={message}
          own={message.user === user}
        />
      ))}
    </ol>
  );
}

export default function Room() {
  const [messages, add] = useMessages();
  const [user, setUser] = useState(
    () => `guest ${100 + Math.floor(Math.random() * 900)}`
  );
  const [body, setBody] = useState("");
  const channel = useChannel(TOPIC, {
    params: { user },
    probe: "pids",
    on: {
      new_msg: add,
      user_entered: (payload) => add({ user: payload.user ?? "somebody" }),
    },
    onJoin: (joined) => {
      joined.push("pids").receive("ok", (pids) => learnPids(TOPIC, pids));
    },
  });
  const [outcomes, ask] = useAsk(channel);

  function send(event) {
    event.preventDefault();
    if (body.trim() === "") return;
    channel.push("new_msg", { body, user });
    setBody("");
  }

  return (
    <Card
      title="Room"
      topic={TOPIC}
      channel={channel}
      note="its transport restarts it"
    >
      <Messages messages={messages} user={user} />
      <form className="line" onSubmit={send}>
        <input
          type="text"
          className="short"
          value={user}
          aria-label="Your name"
          onChange={(event) => setUser(event.target.value)}
        />
        <input
          type="text"
          className="grow"
          value={body}
          placeholder="message to the room"
          aria-label="Message"
          onChange={(event) => setBody(event.target.value)}
        />
        <button type="submit" disabled={channel === null}>
          send
        </button>
      </form>
      <div className="line">
        <button
          type="button"
          disabled={channel === null}
          onClick={() => ask("pids", "pids")}
        >
          ask for its pids
        </button>
        <Outcome outcome={outcomes.pids} />
      </div>
    </Card>
  );
}
