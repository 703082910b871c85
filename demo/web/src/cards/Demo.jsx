// A counter that ticks by itself and answers late when asked to.
import { useState } from "react";
import Card from "../components/Card.jsx";
import Outcome from "../components/Outcome.jsx";
import { useAsk, useChannel, useChannelState } from "../lib/channels.js";

const DELAYS = [1000, 2000, 3000];
const KEPT = 6;

function gap(ticks, index) {
  if (index === 0) return "";
  const seconds = (ticks[index].at - ticks[index - 1].at) / 1000;
  return `+${seconds.toFixed(2)} s`;
}

function Ticks({ ticks }) {
  return (
    <ol className="ticks" aria-label="ticks, newest last">
      {ticks.map((tick, index) => (
        <li key={tick.at}>
          <b>{tick.value}</b>
          <small>{gap(ticks, index)}</small>
        </li>
      ))}
    </ol>
  );
}

export default function Demo() {
  const [topic] = useState(() => `demo:${Math.floor(Math.random() * 50000)}`);
  const [ticks, setTicks] = useState([]);
  const channel = useChannel(topic, {
    probe: "ping",
    on: {
      tick: ({ value }) => {
        const tick = { value, at: performance.now() };
        setTicks((known) => [...known, tick].slice(-KEPT));
      },
    },
  });
  const { state } = useChannelState(channel);
  const [outcomes, ask] = useAsk(channel);

  function askLate() {
    for (const delay of DELAYS) ask(delay, `ping:${delay}`);
  }

  return (
    <Card title="Demo" topic={topic} channel={channel}>
      <Ticks ticks={ticks} />
      <div className="line">
        <button
          type="button"
          disabled={state === "closed"}
          onClick={() => ask("ping", "ping")}
        >
          ping
        </button>
        <button type="button" disabled={state === "closed"} onClick={askLate}>
          ping after 1, 2 and 3 s
        </button>
      </div>
      <ul className="answers">
        <li>
          <code>ping</code>
          <Outcome outcome={outcomes.ping} />
        </li>
        {DELAYS.map((delay) => (
          <li key={delay}>
            <code>ping:{delay}</code>
            <Outcome outcome={outcomes[delay]} />
          </li>
        ))}
      </ul>
    </Card>
  );
}
