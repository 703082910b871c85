// Numbers that are broadcast; the channel lets them wait for a second, and
// brings each of them once.
import { useRef, useState } from "react";
import Card from "../components/Card.jsx";
import { useChannel, useChannelState } from "../lib/channels.js";
import { milliseconds } from "../lib/format.js";

const TOPIC = "dupe";
const KEPT = 5; // batches
const SAME_MS = 200; // what comes within that time is one batch

// What was typed: all numbers of it.
function numbersOf(text) {
  return text
    .split(/[\s,;]+/)
    .filter((word) => word !== "" && Number.isFinite(Number(word)))
    .map(Number);
}

function Batch({ values, waited }) {
  return (
    <li>
      <span className="numbers">
        {values.map((value) => (
          <code key={value}>{value}</code>
        ))}
      </span>
      <span className="hint">
        {waited === null ? "of another" : milliseconds(waited)}
      </span>
    </li>
  );
}

export default function Dupe() {
  const [text, setText] = useState("3 1 3 2 2 1 7");
  const [batches, setBatches] = useState([]);
  const since = useRef(null); // when the first was sent that still waits

  function add(value) {
    const at = performance.now();
    const waited = since.current === null ? null : at - since.current;
    since.current = null;
    setBatches(([last, ...rest]) =>
      last && at - last.at < SAME_MS
        ? [{ ...last, values: [...last.values, value] }, ...rest]
        : [{ at, waited, values: [value] }, ...(last ? [last] : []), ...rest]
            .slice(0, KEPT)
    );
  }

  const channel = useChannel(TOPIC, {
    on: { number: ({ value }) => add(value) },
  });
  const { state } = useChannelState(channel);
  const numbers = numbersOf(text);

  function send(event) {
    event.preventDefault();
    since.current ??= performance.now();
    for (const number of numbers) channel.push("number", { number });
  }

  return (
    <Card title="Dupe" topic={TOPIC} channel={channel}>
      <form className="line" onSubmit={send}>
        <input
          type="text"
          className="grow"
          value={text}
          autoComplete="off"
          aria-label="Numbers"
          onChange={(event) => setText(event.target.value)}
        />
        <button
          type="submit"
          disabled={state !== "joined" || numbers.length === 0}
        >
          broadcast
        </button>
      </form>
      <p className="hint">
        They wait 1 s in the channel; then each comes once, in order.
      </p>
      <ol
        className="batches"
        aria-label="what came, newest first"
        aria-live="polite"
      >
        {batches.map((batch) => (
          <Batch key={batch.at} {...batch} />
        ))}
      </ol>
    </Card>
  );
}
