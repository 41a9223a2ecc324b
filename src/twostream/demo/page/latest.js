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
