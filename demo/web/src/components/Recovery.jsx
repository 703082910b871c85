// What came of one kill.
import { milliseconds } from "../lib/format.js";

function socketText({ socketKept }) {
  return socketKept ? "socket stayed open" : "socket was opened again";
}

function heirText({ role }) {
  return role === "endpoint"
    ? "its next request starts another"
    : "nothing took its place";
}

function resultText(entry) {
  switch (entry.state) {
    case "waiting":
      return "killed, waiting for an answer";
    case "recovered":
      return `recovered in ${milliseconds(entry.ms)}, ${socketText(entry)}`;
    case "replaced":
      return `replaced within ${milliseconds(entry.ms)}, ${socketText(entry)}`;
    case "gone":
      return `gone, ${heirText(entry)}, ${socketText(entry)}`;
    case "lost":
      return "no answer for 20 s";
    default:
      return `failed: ${entry.error}`;
  }
}

function toneOf(entry) {
  switch (entry.state) {
    case "recovered":
    case "replaced":
    case "gone":
      return entry.socketKept ? "good" : "warn";
    case "waiting":
      return "calm";
    default:
      return "bad";
  }
}

function pidText({ formerPid, pid }) {
  return pid === undefined || pid === formerPid
    ? `pid ${formerPid}`
    : `pid ${formerPid} → ${pid}`;
}

function detailText(entry) {
  const details = [pidText(entry)];
  if (entry.state === "recovered") {
    if (entry.joinKept !== undefined) {
      details.push(entry.joinKept ? "same join" : "rejoined");
    }
    details.push(`request ${milliseconds(entry.requestMs)}`);
  }
  return details.join(", ");
}

export default function Recovery({ entry, brief = false }) {
  return (
    <span className={`recovery ${toneOf(entry)}`}>
      {resultText(entry)}
      {!brief && <span className="detail">{detailText(entry)}</span>}
    </span>
  );
}
