// A channel takes one message after the other: five slow ones take five times
// as long, unless each is done in a task. Two sockets, or the one would hold up
// the other.
import { useEffect, useState } from "react";
import Card from "../components/Card.jsx";
import { useChannel, useChannelState } from "../lib/channels.js";
import { useSocket } from "../lib/socket.js";

const MOUNT = "/stats_socket";
const TOPIC = "valid";
const PUSHES = 5;
const SCALE = 15000; // ms in the width of the bars
const PATIENCE = 30000; // the client's, for one push

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

// Pushes an event five times; answers: { status, ms } in the places of those
// that have one.
function useRun(channel, event) {
  const [run, setRun] = useState({ started: null, answers: [] });

  function answer(started, place, status) {
    const ms = performance.now() - started;
    setRun((known) =>
      known.started === started
        ? { ...known, answers: known.answers.with(place, { status, ms }) }
        : known
    );
  }

  function start() {
    const started = performance.now();
    setRun({ started, answers: Array(PUSHES).fill(null) });
    for (let place = 0; place < PUSHES; place++) {
      const push = channel.push(event, {}, PATIENCE);
      for (const status of ["ok", "error", "timeout"]) {
        push.receive(status, () => answer(started, place, status));
      }
    }
  }

  return { ...run, running: run.answers.includes(null), start };
}

function Bars({ started, answers, running }) {
  const [now, setNow] = useState(0);
  useEffect(() => {
    if (!running) return undefined;
    const tick = () => setNow(performance.now());
    const timer = setInterval(tick, 50);
    tick();
    return () => clearInterval(timer);
  }, [running]);

  if (started === null) return <span className="bars" />;
  const times = answers.map((answer) => answer?.ms ?? now - started);
  return (
    <>
      <span className="bars" aria-hidden="true">
        {answers.map((answer, place) => (
          <i
            key={place}
            className={answer?.status ?? "waiting"}
            style={{ width: `${Math.min(100, (100 * times[place]) / SCALE)}%` }}
          />
        ))}
      </span>
      <output>{seconds(Math.max(0, ...times))}</output>
    </>
  );
}

function Run({ channel, event }) {
  const { state } = useChannelState(channel);
  const run = useRun(channel, event);
  return (
    <li>
      <button
        type="button"
        disabled={state !== "joined" || run.running}
        onClick={run.start}
      >
        5 × {event}
      </button>
      <Bars {...run} />
    </li>
  );
}

export default function Slow() {
  const [first, second] = [useSocket(MOUNT), useSocket(MOUNT)];
  const serial = useChannel(TOPIC, { over: first });
  const parallel = useChannel(TOPIC, { over: second });

  return (
    <Card title="Slow" topic={TOPIC} channel={serial} mount={MOUNT}>
      <p className="hint">
        Each slow ping takes 3 s, and the channel does one at a time; a parallel
        one has a task, a process of its own: see the tree.
      </p>
      <ul className="runs">
        <Run channel={serial} event="slow_ping" />
        <Run channel={parallel} event="parallel_slow_ping" />
        <Run channel={serial} event="ping" />
      </ul>
    </Card>
  );
}
