// Joining a topic from a card, and asking its channel for something.
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { frames } from "./frames.js";
import { socket } from "./socket.js";

// topic -> { channel, probe, greeting } of what this page's own socket has
// joined. By one of the two a kill is measured: the probe is an event that its channel answers
// with ok, the greeting one that it pushes after each join.
export const members = new Map();

// A channel of the official client tells nobody about its state; it changes
// only when frames go over the socket, so those are the moments to look.
export function useChannelState(channel) {
  const state = useSyncExternalStore(frames.subscribe, () =>
    channel ? channel.state : "closed"
  );
  const joinRef = useSyncExternalStore(frames.subscribe, () =>
    channel ? channel.joinRef() : null
  );
  return { state, joinRef };
}

// Joins the topic for as long as the card is there; a new attempt joins the
// same topic again. `on` maps events to functions; `watch` gets the channel
// before it joins; onJoin runs after each join, also those that the client
// makes by itself, onError whenever the channel is lost. With `over` it goes
// over that socket, not the page's own.
export function useChannel(topic, options, attempt = 0) {
  const [channel, setChannel] = useState(null);
  const latest = useRef(options);
  latest.current = options;

  useEffect(() => {
    if (topic === null) return undefined;
    const { over = socket, probe, greeting } = options;
    const joining = over.channel(topic, () => latest.current.params ?? {});
    const member = { channel: joining, probe, greeting };
    if (over === socket) members.set(topic, member);
    options.watch?.(joining);
    for (const event of Object.keys(options.on ?? {})) {
      joining.on(event, (payload) =>
        latest.current.on[event](payload, joining)
      );
    }
    joining.onError(() => latest.current.onError?.());
    joining
      .join()
      .receive("ok", (reply) => latest.current.onJoin?.(joining, reply))
      .receive("error", (reply) => latest.current.onRefuse?.(joining, reply));
    setChannel(joining);
    return () => {
      if (members.get(topic) === member) members.delete(topic);
      if (joining.state !== "closed") joining.leave();
    };
  }, [topic, attempt]);

  return channel;
}

// Pushes events and keeps what came of the last one under each name.
export function useAsk(channel) {
  const [outcomes, setOutcomes] = useState({});

  function settle(name, question, result) {
    setOutcomes((known) => {
      const asked = known[name];
      if (asked.question !== question || asked.status !== "waiting") {
        return known;
      }
      const ms = performance.now() - asked.started;
      return { ...known, [name]: { ...asked, ...result, ms } };
    });
  }

  useEffect(() => {
    if (channel === null) return undefined;
    const binding = channel.onError((response) => {
      setOutcomes((known) =>
        Object.fromEntries(
          Object.entries(known).map(([name, asked]) => [
            name,
            asked.status === "waiting"
              ? {
                  ...asked,
                  status: "phx_error",
                  response,
                  ms: performance.now() - asked.started,
                }
              : asked,
          ])
        )
      );
    });
    return () => channel.off("phx_error", binding);
  }, [channel]);

  function ask(name, event, payload = {}) {
    const question = Symbol(name);
    const started = performance.now();
    setOutcomes((known) => ({
      ...known,
      [name]: { question, started, status: "waiting" },
    }));
    const push = channel.push(event, payload);
    for (const status of ["ok", "error", "timeout"]) {
      push.receive(status, (response) =>
        settle(name, question, { status, response })
      );
    }
  }

  return [outcomes, ask];
}
