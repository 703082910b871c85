// The token that the server wants for a kill. It prints it as part of the
// page's address; here it leaves the address bar for the tab's own storage.
import { createStore } from "./store.js";

const KEY = "bennu-token";

export const token = createStore(sessionStorage.getItem(KEY));

// Why the page asks for a token: null (it does not), "missing", "refused".
export const tokenQuestion = createStore(null);

export function keepToken(value) {
  sessionStorage.setItem(KEY, value);
  token.set(value);
  tokenQuestion.set(null);
}

// Takes a bare token as well as an address that ends in #token=...
export function readToken(text) {
  const fragment = text.slice(text.indexOf("#") + 1).trim();
  const value = new URLSearchParams(fragment).get("token");
  return value ?? (/[=\s]/.test(fragment) ? null : fragment || null);
}

function takeFromAddress() {
  const value = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!value) return;
  keepToken(value);
  history.replaceState(null, "", location.pathname + location.search);
}

export function watchAddress() {
  takeFromAddress();
  addEventListener("hashchange", takeFromAddress);
}
