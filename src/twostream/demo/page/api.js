/* Questions to the server. */

/* Return the answer of the server; throw an Error with its one line if it refuses. */
export async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : { method: "POST", body: body instanceof Blob ? body : JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer. Is twostream-demo still running?");
  }
  const content = await answer.json().catch(() => ({ error: `expected JSON, got status ${answer.status}` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

/* Runs an asynchronous function one call at a time: of the calls made meanwhile only the latest is made up for. */
export class Latest {
  #run;
  #waiting = null;
  #isBusy = false;

  constructor(run) {
    this.#run = run;
  }

  async call(...values) {
    this.#waiting = values;
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#waiting) {
      const next = this.#waiting;
      this.#waiting = null;
      await this.#run(...next);
    }
    this.#isBusy = false;
  }
}
