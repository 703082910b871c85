// A counter that ticks by itself, answers late when asked to, and hands on no
// more than one debounce_ping in 3 s.
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

// sent, got: how many; gap: ms between the last two that came.
const NO_PINGS = { sent: 0, got: 0, at: null, gap: null };

function arrived(known) {
  const at = performance.now();
  const gap = known.at === null ? null : at - known.at;
  return { ...known, got: known.got + 1, at, gap };
}

function Debounced({ sent, got, gap }) {
  if (sent + got === 0) return null;
  return (
    <output className="outcome good">
      <b>{got}</b> came of {sent}
      {gap !== null && (
        <span className="ms"> +{(gap / 1000).toFixed(2)} s</span>
      )}
    </output>
  );
}

export default function Demo() {
  const [topic] = useState(() => `demo:${Math.floor(Math.random() * 50000)}`);
  const [ticks, setTicks] = useState([]);
  const [debounced, setDebounced] = useState(NO_PINGS);
  const channel = useChannel(topic, {
    probe: "ping",
    on: {
      tick: ({ value }) => {
        const tick = { value, at: performance.now() };
        setTicks((known) => [...known, tick].slice(-KEPT));
      },
      debounce_ping: () => setDebounced(arrived),
    },
  });
  const { state } = useChannelState(channel);
  const [outcomes, ask] = useAsk(channel);

  function askLate() {
    for (const delay of DELAYS) ask(delay, `ping:${delay}`);
  }

  function debounce() {
    channel.push("debounce_ping", {});
    setDebounced((known) => ({ ...known, sent: known.sent + 1 }));
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
        <button
          type="button"
          disabled={state === "closed"}
          title="press it often: one comes at once, the next 3 s later"
          onClick={debounce}
        >
          debounce_ping
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
        <li>
          <code>debounce_ping</code>
          <Debounced {...debounced} />
        </li>
      </ul>
    </Card>
  );
}
