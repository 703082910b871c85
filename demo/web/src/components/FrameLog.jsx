// Every frame of this page's sockets, as the wire had it.
import { memo, useLayoutEffect, useRef, useState } from "react";
import { clock, count } from "../lib/format.js";
import { clearFrames, frames } from "../lib/frames.js";
import { useStore } from "../lib/store.js";
import Toggle from "./Toggle.jsx";

const ARROWS = { in: "↓", out: "↑", note: "·" };
const NAMES = { in: "received", out: "sent", note: "note" };

// Words that a frame must contain; one that begins with - must not be there.
function matcher(filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return ({ text }) => {
    const frame = text.toLowerCase();
    return words.every((word) =>
      word.startsWith("-") && word.length > 1
        ? !frame.includes(word.slice(1))
        : frame.includes(word)
    );
  };
}

function Fields({ fields }) {
  const [joinRef, ref, topic, event, payload] = fields;
  return (
    <>
      <td className="ref">{joinRef ?? "null"}</td>
      <td className="ref">{ref ?? "null"}</td>
      <td className="topic">{topic}</td>
      <td className="event">{event}</td>
      <td className="payload">{JSON.stringify(payload)}</td>
    </>
  );
}

const Frame = memo(function Frame({ frame }) {
  const { direction, at, fields, text } = frame;
  return (
    <tr className={`frame is-${direction}`}>
      <td className="time">{clock(at)}</td>
      <td className="direction">
        <span aria-hidden="true">{ARROWS[direction]}</span>
        <span className="hidden">{NAMES[direction]}</span>
      </td>
      {fields ? (
        <Fields fields={fields} />
      ) : (
        <td className="text" colSpan={5}>
          {text}
        </td>
      )}
    </tr>
  );
});

// Follows the newest line until the reader scrolls up.
function useFollow(content) {
  const box = useRef(null);
  const following = useRef(true);
  useLayoutEffect(() => {
    if (following.current) box.current.scrollTop = box.current.scrollHeight;
  }, [content]);
  function onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    following.current = scrollHeight - scrollTop - clientHeight < 24;
  }
  return { ref: box, onScroll };
}

export default function FrameLog() {
  const all = useStore(frames);
  const [filter, setFilter] = useState("");
  const [held, setHeld] = useState(null);
  const [wrap, setWrap] = useState(false);
  const source = held ?? all;
  const shown = source.filter(matcher(filter));
  const follow = useFollow(shown.at(-1));
  const missed = all.filter(({ number }) => number > held?.at(-1)?.number);

  function clear() {
    clearFrames();
    setHeld(null);
  }

  return (
    <section className="panel log" aria-labelledby="log-title">
      <header>
        <h2 id="log-title">Frames</h2>
        <span className="note">
          {shown.length === source.length
            ? count(source.length, "line")
            : `${shown.length} of ${count(source.length, "line")}`}
          {held && `, held; ${missed.length} new`}
        </span>
        <input
          type="search"
          value={filter}
          placeholder="filter: room -heartbeat"
          aria-label="Filter frames by text; a word with - in front hides"
          spellCheck={false}
          onChange={(event) => setFilter(event.target.value)}
        />
        <Toggle pressed={wrap} onChange={setWrap}>
          wrap
        </Toggle>
        <Toggle
          pressed={held !== null}
          onChange={(pause) => setHeld(pause ? all : null)}
        >
          pause
        </Toggle>
        <button type="button" onClick={clear}>
          clear
        </button>
      </header>
      <div
        className={wrap ? "scroll is-wrapped" : "scroll"}
        role="region"
        tabIndex={0}
        aria-label="frame log"
        {...follow}
      >
        <table>
          <thead>
            <tr>
              <th scope="col" className="time">time</th>
              <th scope="col" className="direction">
                <span className="hidden">direction</span>
              </th>
              <th scope="col" className="ref">join_ref</th>
              <th scope="col" className="ref">ref</th>
              <th scope="col" className="topic">topic</th>
              <th scope="col" className="event">event</th>
              <th scope="col">payload</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((frame) => (
              <Frame key={frame.number} frame={frame} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
