// The kills made on this page, newest first.
import { clock, nameOf } from "../lib/format.js";
import { kills } from "../lib/kill.js";
import { useStore } from "../lib/store.js";
import Recovery from "./Recovery.jsx";

const MEASURE =
  "From sending the kill to the first ok of the new process, which is asked " +
  "every 5 ms, or to what it pushes after its join; the kill request itself " +
  "is part of it.";

export default function Kills() {
  const entries = useStore(kills);
  return (
    <section className="panel kills" aria-labelledby="kills-title">
      <header>
        <h2 id="kills-title">Recovery</h2>
        <span className="note" title={MEASURE}>
          kill sent → first answer
        </span>
      </header>
      {entries.length === 0 ? (
        <p className="hint">
          Kill a worker, here or with <kbd>kill -9</kbd> in a terminal. Its
          parent starts it again; the socket above stays open.
        </p>
      ) : (
        <ol
          className="scroll"
          tabIndex={0}
          aria-live="polite"
          aria-label="kills, newest first"
        >
          {entries.map((entry) => (
            <li key={entry.number}>
              <time>{clock(entry.at).slice(0, 8)}</time>
              <span className="target">
                {entry.role !== "channel" && `${entry.role} `}
                {nameOf(entry)}
              </span>
              <Recovery entry={entry} />
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
