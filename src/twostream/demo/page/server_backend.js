/* The questions of the page, answered by the server of `twostream-demo`; docs/demo.md describes them. */

export const connect = () => ({
  photo: (file) => ask("api/photo", file),
  generate: (question) => ask("api/generate", question),
  correspondence: (question) => ask("api/correspondence", question),
});

/* Return the answer of the server; throw an Error with its one line if it refuses. */
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body: body instanceof Blob ? body : JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer. Is twostream-demo still running?");
  }
  const content = await answer.json().catch(() => ({ error: `expected JSON, got status ${answer.status}` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}
