// Who is on a topic, as the official client's Presence keeps it. `watch` is for
// useChannel, to be called before the join: nothing is missed then.
import { useState } from "react";
import { Presence } from "phoenix";

// [{ key, metas }], by key.
export function usePresence() {
  const [people, setPeople] = useState([]);

  function watch(channel) {
    const presence = new Presence(channel);
    presence.onSync(() => {
      const all = presence.list((key, { metas }) => ({ key, metas }));
      setPeople(all.sort((a, b) => a.key.localeCompare(b.key)));
    });
  }

  return [people, watch];
}

// When the first of them came: metas say it as text, in Unix seconds.
export function onlineSince(metas) {
  return new Date(Math.min(...metas.map((meta) => meta.online_at)) * 1000);
}
