// Who is online, by the user_id with which the page joins: the same one in two
// tabs is one user who is there twice.
import { useState } from "react";
import Card from "../components/Card.jsx";
import { useChannel } from "../lib/channels.js";
import { clock } from "../lib/format.js";
import { onlineSince, usePresence } from "../lib/presence.js";

const TOPIC = "tracked";

export default function Tracked() {
  const [people, watch] = usePresence();
  const [text, setText] = useState("1");
  const [{ user, attempt }, setUser] = useState({ user: "1", attempt: 0 });
  const channel = useChannel(
    TOPIC,
    { watch, greeting: "presence_state", params: { user_id: user } },
    attempt
  );

  function join(event) {
    event.preventDefault();
    setUser({ user: text, attempt: attempt + 1 });
  }

  return (
    <Card title="Tracked" topic={TOPIC} channel={channel}>
      <form className="line" onSubmit={join}>
        <label className="inline">
          user_id{" "}
          <input
            type="text"
            className="short"
            value={text}
            required
            maxLength={60}
            autoComplete="off"
            onChange={(event) => setText(event.target.value)}
          />
        </label>
        <button type="submit">join</button>
      </form>
      <p className="hint">The same user_id in another tab is one user, twice.</p>
      <ul className="answers" aria-label="who is there" aria-live="polite">
        {people.map(({ key, metas }) => (
          <li key={key}>
            <code>{key}</code>
            <span>
              since <time>{clock(onlineSince(metas)).slice(0, 8)}</time>
              {metas.length > 1 && <b className="good"> × {metas.length}</b>}
              {key === user && <span className="you">you</span>}
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
