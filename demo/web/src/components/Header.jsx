// The state of the socket: the proof that kills do not disturb it.
import { useEffect, useState } from "react";
import { count, duration } from "../lib/format.js";
import { kills } from "../lib/kill.js";
import { connection } from "../lib/socket.js";
import { useStore } from "../lib/store.js";
import { tree } from "../lib/tree.js";

function useNow(interval) {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), interval);
    return () => clearInterval(timer);
  }, [interval]);
  return now;
}

function Figure({ label, children, tone = "" }) {
  return (
    <div className={`figure ${tone}`}>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

export default function Header() {
  const now = useNow(250);
  const { state, since, opens } = useStore(connection);
  const { transport, seen } = useStore(tree);
  const killed = useStore(kills).filter(
    (entry) => entry.state !== "failed"
  ).length;
  const reconnects = Math.max(0, opens - 1);
  const replaced = [...seen.values()].reduce(
    (sum, { changes }) => sum + changes,
    0
  );
  const age = duration(Math.max(0, now - since));

  return (
    <header className="header">
      <h1>
        Bennu <span>Phoenix Channels as Unix processes</span>
      </h1>
      <dl className="figures">
        <Figure label="socket" tone={`is-${state}`}>
          <span role="status" className="light">
            {state}
          </span>
        </Figure>
        <Figure
          label={state === "open" ? "open without a break" : `${state} for`}
        >
          {age}
        </Figure>
        <Figure label="reconnects" tone={reconnects > 0 ? "is-closed" : ""}>
          {reconnects}
        </Figure>
        <Figure label="killed from here">{count(killed, "worker")}</Figure>
        <Figure label="channel pids replaced" tone="is-extra">
          {replaced}
        </Figure>
        <Figure label="transport pid" tone="is-extra">
          {transport ?? "unknown"}
        </Figure>
      </dl>
    </header>
  );
}
