// A topic that is also a question: wild:A:B can be joined if B is twice A.
import { useState } from "react";
import Card from "../components/Card.jsx";
import { useChannel } from "../lib/channels.js";

const KEPT = 5;

function Field({ label, value, onChange }) {
  return (
    <label className="inline">
      {label}{" "}
      <input
        type="text"
        inputMode="numeric"
        className="tiny"
        value={value}
        onChange={(event) => onChange(event.target.value)}
      />
    </label>
  );
}

function Result({ topic, status, response }) {
  const text = JSON.stringify(response);
  return (
    <li>
      <code>{topic}</code>
      <span className={status === "joined" ? "good" : "warn"}>
        <b>{status}</b> {text !== "{}" && <code>{text}</code>}
      </span>
    </li>
  );
}

export default function Wild() {
  const [a, setA] = useState("3");
  const [b, setB] = useState("6");
  const [{ topic, attempt }, setTarget] = useState({ topic: null, attempt: 0 });
  const [results, setResults] = useState([]);

  function add(status, response) {
    setResults((known) => [
      { number: attempt, topic, status, response },
      ...known.filter(({ number }) => number !== attempt),
    ].slice(0, KEPT));
  }

  const channel = useChannel(
    topic,
    {
      onJoin: (joined, reply) => add("joined", reply),
      // The client would ask again and again, and hear the same.
      onRefuse: (refused, reply) => {
        add("refused", reply);
        refused.leave();
      },
    },
    attempt
  );

  function join(event) {
    event.preventDefault();
    setTarget({ topic: `wild:${a}:${b}`, attempt: attempt + 1 });
  }

  return (
    <Card title="Wild" topic={topic} channel={channel}>
      <form className="line" onSubmit={join}>
        <Field label="A" value={a} onChange={setA} />
        <Field label="B" value={b} onChange={setB} />
        <button type="submit">join wild:{a}:{b}</button>
      </form>
      <p className="hint">
        Joined if B is twice A; no number at all crashes the join.
      </p>
      <ol
        className="answers"
        aria-label="results, newest first"
        aria-live="polite"
      >
        {results.map((result) => (
          <Result key={result.number} {...result} />
        ))}
      </ol>
    </Card>
  );
}
