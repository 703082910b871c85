// The frame of every card: a channel's state, its worker, its kill button.
import { useId } from "react";
import { useChannelState } from "../lib/channels.js";
import { kills } from "../lib/kill.js";
import { useStore } from "../lib/store.js";
import { useOwnWorker } from "../lib/tree.js";
import KillButton from "./KillButton.jsx";
import Recovery from "./Recovery.jsx";

function Fact({ label, children }) {
  return (
    <span>
      {label} <b>{children}</b>
    </span>
  );
}

// `note` says in a few words what happens to the channel when it dies; `mount`
// where its socket is, when that is not the page's own: then the tree does not
// say which worker is its.
export default function Card({
  title,
  topic,
  channel,
  note,
  mount,
  children,
}) {
  const id = useId();
  const { state, joinRef } = useChannelState(channel);
  const { worker, pid, changes } = useOwnWorker(mount ? null : topic);
  const last = useStore(kills).find(
    (entry) => entry.role === "channel" && entry.title === topic
  );
  return (
    <section className="panel card" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        <span className={`state is-${state}`}>{state}</span>
        {note && <span className="policy">{note}</span>}
        {worker && <KillButton worker={worker} />}
      </header>
      <p className="facts">
        <Fact label="topic">{topic ?? "none yet"}</Fact>
        <Fact label="join_ref">{joinRef ?? "none"}</Fact>
        {mount ? (
          <Fact label="socket">{mount}</Fact>
        ) : (
          <>
            <Fact label="pid">{pid ?? "unknown"}</Fact>
            <Fact label="pid changes">{changes}</Fact>
          </>
        )}
      </p>
      {last && (
        <p className="last" aria-hidden="true">
          <Recovery entry={last} brief />
        </p>
      )}
      <div className="body">{children}</div>
    </section>
  );
}
