// Every way in which a channel can treat an event: answer, refuse, keep
// silent, stop, crash. And a broadcast that the server changes on its way: the
// page answers what becomes of it with a ping.
import { useState } from "react";
import Card from "../components/Card.jsx";
import Outcome from "../components/Outcome.jsx";
import { useAsk, useChannel, useChannelState } from "../lib/channels.js";

const TOPIC = "ping";
const REQUEST = "request_ping";

function questions(phrase) {
  return [
    { name: "ping", event: "ping" },
    {
      name: "ping {ack_phrase}",
      event: "ping",
      payload: { ack_phrase: phrase },
    },
    { name: `ping:${phrase}`, event: `ping:${phrase}` },
    { name: "param_ping", event: "param_ping", payload: { phrase } },
    {
      name: "param_ping {error}",
      event: "param_ping",
      payload: { error: true },
    },
    { name: "pong", event: "pong", about: "is never answered: 10 s" },
    { name: "ding", event: "ding", about: "ends the channel" },
    { name: "crash it", event: "no_such_event", about: "unknown event" },
  ];
}

function Question({ name, event, payload, about, disabled, outcome, onAsk }) {
  return (
    <li>
      <button
        type="button"
        disabled={disabled}
        onClick={() => onAsk(name, event, payload)}
      >
        {name}
      </button>
      {outcome ? (
        <Outcome outcome={outcome} />
      ) : (
        <span className="hint">{about}</span>
      )}
    </li>
  );
}

export default function Ping() {
  const [attempt, setAttempt] = useState(0);
  const [phrase, setPhrase] = useState("hello");
  const channel = useChannel(
    TOPIC,
    {
      probe: "ping",
      on: {
        send_ping: ({ from_node: node }) =>
          ask(REQUEST, "ping", { ack_phrase: node }),
      },
    },
    attempt
  );
  const { state } = useChannelState(channel);
  const [outcomes, ask] = useAsk(channel);

  return (
    <Card
      title="Ping"
      topic={TOPIC}
      channel={channel}
      note="not restarted: the client rejoins"
    >
      <div className="line">
        <label className="inline">
          phrase{" "}
          <input
            type="text"
            className="short"
            value={phrase}
            onChange={(event) => setPhrase(event.target.value)}
          />
        </label>
        {channel !== null && state === "closed" && (
          <button
            type="button"
            className="primary"
            onClick={() => setAttempt(attempt + 1)}
          >
            join again
          </button>
        )}
      </div>
      <ul className="questions">
        {questions(phrase).map((question) => (
          <Question
            key={question.name}
            {...question}
            disabled={state === "closed"}
            outcome={outcomes[question.name]}
            onAsk={ask}
          />
        ))}
        <Question
          name={REQUEST}
          event={REQUEST}
          about="for all: the node asks for a ping"
          disabled={state === "closed"}
          outcome={outcomes[REQUEST]}
          onAsk={() => channel.push(REQUEST, {})}
        />
      </ul>
    </Card>
  );
}
