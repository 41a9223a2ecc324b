/* The page: a person, a pose, and that person in that pose. */

import { button, byId, element } from "./dom.js";
import { Latest } from "./latest.js";
import { Person } from "./person.js";
import { fitted, isFound, standing } from "./pose.js";
import { Result } from "./result.js";
import { drawing, SkeletonEditor } from "./skeleton.js";

const MOVEMENT = 80; // least milliseconds between two poses of a movement

const [content, backend] = await load().catch((error) => {
  say(error.message);
  throw error;
});
const person = new Person(content, update);
const target = new SkeletonEditor(byId("pose-skeleton"), byId("pose-joints"), content, () => {
  stop();
  update();
});
const results = content.models.slice(0, 2).map((_, index) =>
  new Result(content.models, index, content.models.length > 1 ? `Model ${index + 1}` : "Model", backend, update, explain));
const generator = new Latest(generate);
let playing = null; // the button of the movement that is shown

/* Return what the page opens with, and what answers its questions: the server, or a network in the browser. */
async function load() {
  const answer = await fetch("content.json");
  if (!answer.ok) throw new Error(`content.json: expected the page's content, got status ${answer.status}`);
  const opened = await answer.json();
  const { connect } = await import(`./${opened.backend}_backend.js`);
  return [opened, connect(opened)];
}

/* Show an error, or none. */
function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

function update() {
  for (const result of results) result.leave();
  return generator.call();
}

async function generate() {
  const { image, size, joints } = person.framed;
  const inputs = { image, source_joints: joints, target_joints: fitted(target.joints, content.size, size) };
  const start = performance.now();
  try {
    const answer = await backend.generate({ models: results.map((result) => result.model.name), ...inputs });
    answer.results.forEach((one, index) => results[index].show(one, inputs, size));
    byId("speed").textContent = `${Math.round(performance.now() - start)} ms per frame`;
    say("");
  } catch (error) {
    byId("speed").textContent = "";
    say(error.message);
  }
}

async function choosePerson({ image, joints, size = content.size }, isPhoto = false) {
  await person.show(image, size, joints, isPhoto);
  update();
}

/* Show the poses of a movement in turn, until it is stopped. */
async function play(made, poses) {
  const isStopped = playing === made;
  stop();
  if (isStopped) return;
  playing = made;
  made.setAttribute("aria-pressed", "true");
  for (let index = 0; playing === made; index = (index + 1) % poses.length) {
    showPose(poses[index]);
    await Promise.all([update(), new Promise((resolve) => setTimeout(resolve, MOVEMENT))]);
  }
}

function stop() {
  playing?.setAttribute("aria-pressed", "false");
  playing = null;
}

function choosePose(joints, size = content.size) {
  stop();
  showPose(joints, size);
  update();
}

function showPose(joints, size = content.size) {
  target.set(fitted(joints, size, content.size), content.size, standing(content.standing, content.size, content.size));
}

/* Outline squares of the source, null for none, and say what they are. */
function explain(squares, text) {
  const canExplain = content.models.some(({ views }) => views.length);
  byId("origin").textContent = text || (canExplain ? "Point at the result to see which parts of the photo it comes from." : "");
  person.highlight(squares ?? []);
}

/* Give a photo to the backend, and its image and joints to a function. */
async function upload(file, use) {
  try {
    const [most, size] = [content.max_megabytes, file.size / 2 ** 20];
    if (size > most) throw new Error(`photo: expected at most ${most} MB, got ${size.toFixed(1)} MB`);
    const photo = await backend.photo(file);
    say("");
    await use({ ...photo, joints: photo.joints?.some(isFound) ? photo.joints : null });
  } catch (error) {
    say(error.message);
  }
}

const usePerson = (photo) => {
  press(byId("people"), null);
  return choosePerson(photo, true);
};

const usePose = ({ joints, size }) => {
  if (!joints) throw new Error("photo: expected a person, found none");
  press(byId("poses"), null);
  choosePose(joints, size);
};

/* Mark the chosen button of a strip. */
function press(strip, chosen) {
  for (const one of strip.children) one.setAttribute("aria-pressed", one === chosen);
}

function fill(strip, choices, name, draw, choose) {
  strip.append(...choices.map((choice, index) => {
    const made = element("button", { type: "button", "aria-label": `${name} ${index + 1}`, "aria-pressed": "false" }, draw(choice));
    made.addEventListener("click", () => (press(strip, made), choose(choice)));
    return made;
  }));
}

function takeFile(input, use) {
  input.addEventListener("change", async () => {
    const [file] = input.files;
    if (file) await upload(file, use);
    input.value = "";
  });
}

byId("results").append(...results.map(({ root }) => root));
byId("pose-stage").style.setProperty("--ratio", content.size[1] / content.size[0]);
fill(byId("people"), content.people, "Person", ({ image }) => element("img", { src: image, alt: "" }), (one) => choosePerson(one));
fill(byId("poses"), content.poses, "Pose", (joints) => drawing(joints, content.size, content), (joints) => choosePose(joints));
byId("sequences").append(...Object.entries(content.sequences).map(([name, poses]) => {
  const made = button(`Play: ${name}`, () => (press(byId("poses"), null), play(made, poses)), { "aria-pressed": "false" });
  return made;
}));
takeFile(byId("photo"), usePerson);
takeFile(byId("pose-photo"), usePose);
byId("pose-photo-label").hidden = !content.estimator;
for (const name of ["dragover", "dragleave", "drop"]) {
  byId("person").addEventListener(name, (event) => {
    event.preventDefault();
    byId("person").classList.toggle("dropping", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0], usePerson);
  });
}

press(byId("people"), byId("people").children[0]);
press(byId("poses"), byId("poses").children[0]);
const [first] = content.people;
await person.show(first.image, content.size, first.joints, false);
explain(null, "");
choosePose(content.poses[0]);
