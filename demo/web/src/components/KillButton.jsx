// kill -9 for one worker.
import { nameOf } from "../lib/format.js";
import { kill } from "../lib/kill.js";
import { token } from "../lib/token.js";
import { useStore } from "../lib/store.js";

export default function KillButton({ worker }) {
  const armed = useStore(token) !== null;
  const what = `${worker.role} ${nameOf(worker)}`.trim();
  const hint = armed ? `kill -9 ${worker.pid}` : "needs the server's token";
  return (
    <button
      type="button"
      className={armed ? "kill" : "kill is-unarmed"}
      onClick={() => kill(worker)}
      aria-label={`kill -9 ${what}, pid ${worker.pid}`}
      title={hint}
    >
      kill -9
    </button>
  );
}
