// The process tree as `ps --forest` shows it, with a kill button per worker.
import { useEffect, useRef } from "react";
import { nameOf } from "../lib/format.js";
import { canKill } from "../lib/kill.js";
import { useStore } from "../lib/store.js";
import { tree } from "../lib/tree.js";
import KillButton from "./KillButton.jsx";

const STATUS = {
  loading: "asking",
  live: "live",
  off: "switched off",
  lost: "no answer",
};

// One entry per line: `guides` says for each ancestor whether its branch goes
// on below this line.
function lines(node, transport, guides = [], own = false) {
  const mine = own || (node.role === "transport" && node.pid === transport);
  return [
    { node, guides, own, mine },
    ...node.children.flatMap((child, index) =>
      lines(
        child,
        transport,
        [...guides, index < node.children.length - 1],
        mine
      )
    ),
  ];
}

function Guides({ guides }) {
  return guides.map((more, depth) => {
    const last = depth === guides.length - 1;
    const shape = last ? (more ? "tee" : "elbow") : more ? "pipe" : "gap";
    return <span key={depth} className={`guide ${shape}`} aria-hidden="true" />;
  });
}

function Line({ node, guides, own, mine }) {
  const dead = node.diedAt !== undefined;
  const classes = [
    dead ? "is-dead" : node.bornAt > 0 ? "is-new" : "",
    mine ? "is-mine" : "",
  ];
  return (
    <tr className={classes.join(" ")} data-own={mine && !own && !dead}>
      <th scope="row">
        <div className="branch">
          <Guides guides={guides} />
          <span className="what" title={`${node.id}: ${node.title}`}>
            <span className="role">{node.role}</span> {nameOf(node)}
          </span>
          {node.formerPid !== undefined && <del>{node.formerPid}</del>}
          {mine && !own && <span className="tag">this page</span>}
        </div>
      </th>
      <td className="number">{node.pid}</td>
      <td className="number">{node.restarts > 0 ? node.restarts : ""}</td>
      <td className="action">
        {dead ? (
          <span className="gone">gone</span>
        ) : (
          canKill(node) && <KillButton worker={node} />
        )}
      </td>
    </tr>
  );
}

function Lines({ root, transport }) {
  return (
    <table className="tree">
      <thead>
        <tr>
          <th scope="col">process</th>
          <th scope="col" className="number">pid</th>
          <th scope="col" className="number" title="restarts">
            <abbr title="restarts">rst</abbr>
          </th>
          <th scope="col" className="action">
            <span className="hidden">kill</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {lines(root, transport).map((line) => (
          <Line
            key={`${line.node.id} ${line.node.pid} ${line.node.diedAt ?? ""}`}
            {...line}
          />
        ))}
      </tbody>
    </table>
  );
}

// Brings the page's own rows into view when they are, or move, out of it.
function useOwnInView(transport, known) {
  const box = useRef(null);
  useEffect(() => {
    const line = box.current?.querySelector("[data-own=true]");
    if (!line) return;
    const { scrollTop, clientHeight } = box.current;
    const below = line.offsetTop + 6 * line.offsetHeight;
    if (below > scrollTop + clientHeight) {
      box.current.scrollTop = below - clientHeight;
    }
  }, [transport, known]);
  return box;
}

export default function Tree() {
  const { status, root, more, transport } = useStore(tree);
  const known = root?.children.some(({ pid }) => pid === transport);
  const box = useOwnInView(transport, known);
  return (
    <section className="panel processes" aria-labelledby="tree-title">
      <header>
        <h2 id="tree-title">Processes</h2>
        <span className={`state is-${status}`}>{STATUS[status]}</span>
      </header>
      {status === "off" ? (
        <p className="hint">
          This server does not show its process tree: it was started without
          these routes. The channels work all the same, and{" "}
          <kbd>ps --forest</kbd> in a terminal shows the tree.
        </p>
      ) : (
        root && (
          <div
            ref={box}
            className="scroll"
            role="region"
            tabIndex={0}
            aria-label="process tree"
          >
            <Lines root={root} transport={transport} />
            {more > 0 && <p className="hint">and {more} more, not shown</p>}
          </div>
        )
      )}
    </section>
  );
}
