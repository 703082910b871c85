// What came of a push: its status, the response and the time it took.
import { milliseconds } from "../lib/format.js";

const TONES = {
  ok: "good",
  error: "warn",
  timeout: "warn",
  phx_error: "bad",
  waiting: "calm",
};

export default function Outcome({ outcome }) {
  if (!outcome) return <output className="outcome" />;
  const { status, response, ms } = outcome;
  const text = response === undefined ? "" : JSON.stringify(response);
  return (
    <output className={`outcome ${TONES[status]}`} title={text}>
      <b>{status}</b>{" "}
      {ms !== undefined && <span className="ms">{milliseconds(ms)}</span>}{" "}
      {text !== "{}" && <code>{text}</code>}
    </output>
  );
}
