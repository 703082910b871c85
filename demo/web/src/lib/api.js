// The demo's REST API. What it complains about comes in the server's words:
// { field: [words] }, or { detail: [words] } where no field is to blame.

async function complaints(response) {
  const { errors } = await response.json().catch(() => ({}));
  const entries = Object.entries(errors ?? {});
  if (entries.length === 0) return { detail: [`status ${response.status}`] };
  return Object.fromEntries(
    entries.map(([field, words]) => [field, [words].flat()])
  );
}

// Null: done.
export async function callApi(method, path, body) {
  try {
    const response = await fetch(path, {
      method,
      headers: body && { "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    return response.ok ? null : await complaints(response);
  } catch {
    return { detail: ["the request had no answer"] };
  }
}
