// Who is online, by the names that the server gives, and what they tell each
// other. The one who sits in the server notifies somebody every 5 s.
import { useRef, useState } from "react";
import Card from "../components/Card.jsx";
import { useChannel, useChannelState } from "../lib/channels.js";
import { clock } from "../lib/format.js";
import { onlineSince, usePresence } from "../lib/presence.js";

const TOPIC = "notifications:lobby";
const KEPT = 5;

function Person({ name, metas, own, disabled, onNotify }) {
  return (
    <tr>
      <th scope="row">
        {name}
        {own && <span className="you">you</span>}
      </th>
      <td>
        <time>{clock(onlineSince(metas)).slice(0, 8)}</time>
      </td>
      <td className="action">
        <button
          type="button"
          disabled={disabled}
          aria-label={`notify ${name}`}
          onClick={() => onNotify(name)}
        >
          notify
        </button>
      </td>
    </tr>
  );
}

function Online({ people, name, disabled, onNotify }) {
  return (
    <div
      className="people scroll"
      role="region"
      tabIndex={0}
      aria-label="who is online"
    >
      <table>
        <thead>
          <tr>
            <th scope="col">online: {people.length}</th>
            <th scope="col">since</th>
            <th scope="col" className="action">
              <span className="hidden">notify</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {people.map(({ key, metas }) => (
            <Person
              key={key}
              name={key}
              metas={metas}
              own={key === name}
              disabled={disabled}
              onNotify={onNotify}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

export default function Notifications() {
  const [people, watch] = usePresence();
  const [name, setName] = useState(null);
  const [body, setBody] = useState("Hello");
  const [notifications, setNotifications] = useState([]);
  const number = useRef(0);

  const channel = useChannel(TOPIC, {
    watch,
    greeting: "user_info",
    on: {
      user_info: ({ user_name: own }) => setName(own),
      notification: (notification) => {
        const entry = { ...notification, number: number.current++ };
        setNotifications((known) => [entry, ...known].slice(0, KEPT));
      },
    },
  });
  const { state } = useChannelState(channel);
  const disabled = state !== "joined";

  return (
    <Card title="Notifications" topic={TOPIC} channel={channel}>
      <Online
        people={people}
        name={name}
        disabled={disabled}
        onNotify={(recipient) =>
          channel.push("notify_direct", { body, recipient })
        }
      />
      <div className="line">
        <input
          type="text"
          className="grow"
          value={body}
          autoComplete="off"
          aria-label="What to notify of"
          onChange={(event) => setBody(event.target.value)}
        />
        <button
          type="button"
          disabled={disabled}
          onClick={() => channel.push("notify_others", { body })}
        >
          notify others
        </button>
        <button
          type="button"
          disabled={disabled}
          onClick={() => channel.push("notify_all", { body })}
        >
          notify all
        </button>
      </div>
      <ol
        className="pushes"
        aria-label="notifications, newest first"
        aria-live="polite"
      >
        {notifications.map(({ number: key, body: text, timestamp }) => (
          <li key={key}>
            <time>{clock(new Date(timestamp * 1000)).slice(0, 8)}</time>
            <span className="what" title={text}>{text}</span>
          </li>
        ))}
      </ol>
    </Card>
  );
}
