// A table that is the same for everybody who looks at it: changed by REST,
// brought by the channel. The server wants each push acknowledged.
import { useEffect, useReducer, useRef, useState } from "react";
import Card from "../components/Card.jsx";
import Toggle from "../components/Toggle.jsx";
import { callApi } from "../lib/api.js";
import { useChannel, useChannelState } from "../lib/channels.js";
import { clock } from "../lib/format.js";

const TOPIC = "superheroes:lobby";
const API = "/api/superheroes";
const ACK_MS = 3000; // the server waits for as long
const KEPT = 20;
const EMPTY = { name: "", location: "", power: "" };

// heroes: id -> hero; `version` rises whenever the channel speaks of it.
// news: the pushes, newest first; `ack` is waiting, sent, missed or null.
const NOTHING = { heroes: new Map(), version: 0, news: [], number: 0 };

function changed(heroes, { event, payload, version }) {
  const hero = payload.superhero;
  const next = new Map(heroes);
  switch (event) {
    case "hydrate":
      return new Map(
        payload.superheroes.map((one) => [one.id, { ...one, version }])
      );
    case "delete":
      next.delete(hero.id);
      return next;
    default:
      return next.set(hero.id, { ...hero, version });
  }
}

function describe(event, payload) {
  return event === "hydrate"
    ? `table of ${payload.superheroes.length}`
    : payload.superhero.name || `number ${payload.superhero.id}`;
}

function addNews(state, entry) {
  const number = state.number + 1;
  const news = [{ ...entry, number, at: new Date() }, ...state.news];
  return { ...state, number, news: news.slice(0, KEPT) };
}

function settle(news, ack, ids) {
  return news.map((entry) =>
    entry.ack === "waiting" && (!ids || ids.includes(entry.id))
      ? { ...entry, ack }
      : entry
  );
}

function reduce(state, action) {
  switch (action.type) {
    case "push": {
      const { event, payload, ack } = action;
      // The first table of all is no news.
      const version = state.version === 0 && event === "hydrate"
        ? 0
        : state.version + 1;
      const heroes = changed(state.heroes, { event, payload, version });
      return addNews(
        { ...state, heroes, version: Math.max(version, 1) },
        {
          event,
          what: describe(event, payload),
          id: payload.message_id,
          ack,
          since: performance.now(),
        }
      );
    }
    case "acknowledged":
      return { ...state, news: settle(state.news, "sent", action.ids) };
    case "error":
      return addNews(
        { ...state, news: settle(state.news, "missed") },
        { event: "phx_error", what: "the client joins again", ack: null }
      );
  }
}

function acknowledge(channel, id) {
  channel.push("message_ack", { message_id: id, status: "Received" });
}

// What was typed: a number where it is one; otherwise the server says why not.
function powerOf(text) {
  return /^-?\d{1,15}$/.test(text.trim()) ? Number(text) : text;
}

function Complaints({ id, errors, fields, named }) {
  const list = fields.flatMap((field) =>
    (errors?.[field] ?? []).map((words) =>
      named && field !== "detail" ? `${field} ${words}` : words
    )
  );
  return (
    <span id={id} className="complaint" role="status">
      {list.join(", ")}
    </span>
  );
}

// The power may be typed over; what the channel brings meanwhile waits until
// that is saved or given up.
function Hero({ hero, onErrors }) {
  const [draft, setDraft] = useState(null);
  const [busy, setBusy] = useState(false);
  const flash = hero.version > 0 ? "is-new" : "";

  async function call(method, body) {
    setBusy(true);
    const errors = await callApi(method, `${API}/${hero.id}`, body);
    setBusy(false);
    onErrors(errors && { hero, errors });
    return errors === null;
  }

  async function save(event) {
    event.preventDefault();
    if (draft === null || busy) return;
    const superhero = { power: powerOf(draft) };
    if (await call("PATCH", { superhero })) setDraft(null);
  }

  return (
    <tr>
      <td key={`name ${hero.version}`} className={flash} title={hero.name}>
        {hero.name}
      </td>
      <td
        key={`location ${hero.version}`}
        className={flash}
        title={hero.location}
      >
        {hero.location}
      </td>
      <td className="power">
        <form onSubmit={save}>
          <input
            type="text"
            inputMode="numeric"
            autoComplete="off"
            value={draft ?? hero.power}
            aria-label={`power of ${hero.name}`}
            onChange={({ target }) =>
              setDraft(
                target.value === String(hero.power) ? null : target.value
              )
            }
            onKeyDown={(event) => {
              if (event.key === "Escape") setDraft(null);
            }}
          />
          <button
            type="submit"
            className="primary"
            disabled={draft === null || busy}
            aria-label={`save the power of ${hero.name}`}
          >
            save
          </button>
          <button
            type="button"
            disabled={busy}
            title="delete"
            aria-label={`delete ${hero.name}`}
            onClick={() => call("DELETE")}
          >
            ×
          </button>
        </form>
      </td>
    </tr>
  );
}

function Table({ heroes, stale, onErrors }) {
  const rows = [...heroes.values()].sort((a, b) => a.id - b.id);
  return (
    <div
      className={stale ? "heroes scroll is-stale" : "heroes scroll"}
      role="region"
      tabIndex={0}
      aria-label="superheroes"
    >
      <table>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Location</th>
            <th scope="col" className="power">Power</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((hero) => (
            <Hero key={hero.id} hero={hero} onErrors={onErrors} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Field({ name, value, errors, onChange, ...rest }) {
  const about = `hero-${name}-complaint`;
  return (
    <div className="field">
      <input
        type="text"
        autoComplete="off"
        placeholder={name}
        aria-label={`${name} of a new hero`}
        aria-invalid={errors?.[name] !== undefined}
        aria-describedby={about}
        value={value}
        onChange={({ target }) => onChange(name, target.value)}
        {...rest}
      />
      <Complaints id={about} errors={errors} fields={[name]} />
    </div>
  );
}

function Add() {
  const [fields, setFields] = useState(EMPTY);
  const [errors, setErrors] = useState(null);
  const [busy, setBusy] = useState(false);
  const first = useRef(null);

  function change(name, value) {
    setFields((known) => ({ ...known, [name]: value }));
  }

  async function add(event) {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    const superhero = { ...fields, power: powerOf(fields.power) };
    const answer = await callApi("POST", API, { superhero });
    setBusy(false);
    setErrors(answer);
    if (answer !== null) return;
    setFields(EMPTY);
    first.current.focus();
  }

  return (
    <form className="add" onSubmit={add}>
      {Object.keys(EMPTY).map((name) => (
        <Field
          key={name}
          name={name}
          value={fields[name]}
          errors={errors}
          onChange={change}
          ref={name === "name" ? first : undefined}
          inputMode={name === "power" ? "numeric" : undefined}
        />
      ))}
      <button type="submit" disabled={busy}>
        add
      </button>
      {errors?.detail && (
        <Complaints errors={errors} fields={["detail"]} />
      )}
    </form>
  );
}

// How long the server still waits.
function Countdown({ since }) {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 100);
    return () => clearInterval(timer);
  }, []);
  const left = Math.max(0, ACK_MS - (now - since)) / 1000;
  return <span className="warn">not acknowledged, {left.toFixed(1)} s</span>;
}

function Ack({ entry }) {
  switch (entry.ack) {
    case "waiting":
      return <Countdown since={entry.since} />;
    case "sent":
      return <span className="good">acknowledged</span>;
    case "missed":
      return <span className="bad">never acknowledged</span>;
    default:
      return null;
  }
}

function News({ news }) {
  return (
    <ol className="news scroll" tabIndex={0} aria-label="pushes, newest first">
      {news.map((entry) => (
        <li key={entry.number}>
          <time>{clock(entry.at).slice(0, 8)}</time>
          <code className={entry.event === "phx_error" ? "bad" : ""}>
            {entry.event}
          </code>
          <span className="what" title={entry.id}>{entry.what}</span>
          <Ack entry={entry} />
        </li>
      ))}
    </ol>
  );
}

export default function Superheroes() {
  const [{ heroes, news }, dispatch] = useReducer(reduce, NOTHING);
  const [silent, setSilent] = useState(false);
  const [failed, setFailed] = useState(null);

  function take(event, payload, joined) {
    const ack = silent ? "waiting" : "sent";
    if (!silent) acknowledge(joined, payload.message_id);
    dispatch({ type: "push", event, payload, ack });
  }

  const channel = useChannel(TOPIC, {
    greeting: "hydrate",
    on: Object.fromEntries(
      ["hydrate", "create", "update", "delete"].map((event) => [
        event,
        (payload, joined) => take(event, payload, joined),
      ])
    ),
    onError: () => dispatch({ type: "error" }),
  });
  const { state } = useChannelState(channel);

  function setSilence(pressed) {
    setSilent(pressed);
    if (pressed || !channel?.canPush()) return;
    const ids = news
      .filter(({ ack }) => ack === "waiting")
      .map(({ id }) => id);
    for (const id of ids) acknowledge(channel, id);
    dispatch({ type: "acknowledged", ids });
  }

  return (
    <Card
      title="Superheroes"
      topic={TOPIC}
      channel={channel}
      note="the client rejoins"
    >
      <Table
        heroes={heroes}
        stale={state !== "joined"}
        onErrors={setFailed}
      />
      {failed && (
        <p className="failed">
          <b>{failed.hero.name}</b>{" "}
          <Complaints
            errors={failed.errors}
            fields={Object.keys(failed.errors)}
            named
          />
        </p>
      )}
      <Add />
      <div className="line">
        <Toggle pressed={silent} onChange={setSilence}>
          do not acknowledge
        </Toggle>
        <span className="hint">
          {silent
            ? "the channel crashes after 3 s"
            : "each push is acknowledged at once"}
        </span>
      </div>
      <News news={news} />
    </Card>
  );
}
