// The socket of this page, and how long it has been open: that number is what
// the whole page is about. Some cards have another one beside it.
import { useEffect, useState } from "react";
import { Socket } from "phoenix";
import { createStore } from "./store.js";
import { LoggedWebSocket } from "./frames.js";

export const socket = new Socket("/socket", { transport: LoggedWebSocket });

export const connection = createStore({
  state: "connecting",
  since: performance.now(),
  opens: 0,
});

export function connect() {
  socket.onOpen(() => {
    connection.set(({ opens }) => ({
      state: "open",
      since: performance.now(),
      opens: opens + 1,
    }));
  });
  socket.onClose(() => {
    connection.set((before) => ({
      ...before,
      state: "closed",
      since: before.state === "closed" ? before.since : performance.now(),
    }));
  });
  socket.connect();
}

// Another socket, open for as long as the card is there.
export function useSocket(mount) {
  const [other] = useState(
    () => new Socket(mount, { transport: LoggedWebSocket })
  );
  useEffect(() => {
    other.connect();
    return () => other.disconnect();
  }, [other]);
  return other;
}
