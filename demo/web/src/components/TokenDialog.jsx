// Says where the token for kills is found, and takes it.
import { useEffect, useRef, useState } from "react";
import { useStore } from "../lib/store.js";
import { keepToken, readToken, tokenQuestion } from "../lib/token.js";

export default function TokenDialog() {
  const question = useStore(tokenQuestion);
  const dialog = useRef(null);
  const [text, setText] = useState("");

  useEffect(() => {
    if (question === null) dialog.current.close();
    else if (!dialog.current.open) dialog.current.showModal();
  }, [question]);

  function submit(event) {
    event.preventDefault();
    const value = readToken(text);
    if (value === null) return;
    keepToken(value);
    setText("");
  }

  return (
    <dialog
      ref={dialog}
      onClose={() => tokenQuestion.set(null)}
      aria-labelledby="token-title"
    >
      <form onSubmit={submit}>
        <h2 id="token-title">
          {question === "refused"
            ? "The server refused the token"
            : "Killing needs the server's token"}
        </h2>
        <p>
          Only who can read the server's terminal may kill its workers. At its
          start the server printed the address of this page with a token at the
          end, <code>#token=…</code>. Open that address, or paste it here.
          {question === "refused" &&
            " After a restart of the server there is a new one."}
        </p>
        <label>
          Address or token
          <input
            type="text"
            value={text}
            autoComplete="off"
            spellCheck={false}
            onChange={(event) => setText(event.target.value)}
          />
        </label>
        <div className="actions">
          <button type="button" onClick={() => tokenQuestion.set(null)}>
            Close
          </button>
          <button type="submit" className="primary" disabled={!readToken(text)}>
            Keep it for this tab
          </button>
        </div>
      </form>
    </dialog>
  );
}
