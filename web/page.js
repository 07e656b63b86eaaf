// The page: each exported model by its signature.json and model.onnx, in the folders of models.json.

import { asInput, check, ort } from "./predict.mjs";
import { Pad } from "./pad.js";
import { asPhotograph, cutOutDrawing } from "./pictures.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;

const find = (selector) => document.querySelector(selector);
const SHOWN = 3;

class Model {
  constructor(signature) {
    this.signature = signature;
    this.folder = `models/${signature.model}`;
  }

  // Loaded when it is first asked; a runtime that does not give the golden outputs is not used.
  session() {
    this.loading ??= (async () => {
      const session = await ort.InferenceSession.create(`${this.folder}/model.onnx`);
      await check(session, this.signature);
      return session;
    })();
    return this.loading;
  }

  // The classes, the most probable first: [[name, share], ...].
  async answer(input) {
    const session = await this.session();
    const run = () => session.run({ [this.signature.input.name]: input });
    const outputs = await (Model.queue = Model.queue.then(run, run)); // the runtime takes one call at a time
    const shares = outputs[this.signature.outputs[0].name].data;
    return this.signature.classes.map((name, place) => [name, shares[place]]).sort((a, b) => b[1] - a[1]);
  }
}
Model.queue = Promise.resolve();

// An element, its attributes and what is in it.
function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

// A line for each model: its first answer large, with its share, the next ones beside it; or what went wrong.
async function vote(list, models, inputOf) {
  const lines = await Promise.all(models.map(async (model) => {
    const name = make("span", { class: "name" }, model.signature.model);
    try {
      const best = (await model.answer(inputOf(model))).slice(0, SHOWN);
      const others = best.slice(1).map(([other, share]) => `${other} ${percent(share)}`).join(", ");
      const bar = make("progress", { max: 1, value: best[0][1], "aria-label": percent(best[0][1]) });
      return make("li", { "data-model": model.signature.model }, name, make("div", {}, make("strong", {}, best[0][0]), ` ${percent(best[0][1])} `, make("span", { class: "hint" }, others), bar));
    } catch (error) {
      return make("li", {}, name, make("div", { class: "error" }, error.message));
    }
  }));
  list.replaceChildren(...lines);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Calls that come while one is at work are one call after it. Meanwhile `list` is said to be busy.
function oneAtATime(list, work) {
  let [isAtWork, isWanted] = [false, false];
  return async () => {
    isWanted = true;
    list.setAttribute("aria-busy", "true");
    if (isAtWork) return;
    isAtWork = true;
    await new Promise(requestAnimationFrame); // strokes are shown first
    while (isWanted) {
      isWanted = false;
      await work();
      await new Promise(requestAnimationFrame);
    }
    isAtWork = false;
    list.setAttribute("aria-busy", "false");
  };
}

function showDrawings(models) {
  const [height, width] = models[0].signature.input.shape.slice(1), list = find("#digit-votes");
  let photo = null; // that was put on the pad, and not drawn over
  const ask = oneAtATime(list, async () => {
    const side = models[0].signature.ink.longer_side;
    const cut = pad.isEmpty ? null : photo ? cutOutDrawing(photo, width, height, side) : cutOutDrawing(pad.layer, width, height, side, true);
    showSeen(cut?.pixels ?? new Uint8Array(width * height), width, height);
    if (cut === null) return list.replaceChildren(make("li", { class: "hint" }, pad.isEmpty ? "Draw a digit." : "There is no drawing to be seen."));
    await vote(list, models, () => new ort.Tensor("uint8", cut.pixels, [1, height, width, 1]));
  });
  const pad = new Pad(find("#pad"), () => {
    photo = null;
    ask();
  });
  find("#clear").addEventListener("click", () => pad.clear());
  takePictures(find("#digit"), find("#pad"), list, (picture) => {
    pad.put(picture);
    photo = picture;
    return ask();
  });
  ask();
}

function showSeen(pixels, width, height) {
  const image = new ImageData(width, height);
  pixels.forEach((value, place) => image.data.set([value, value, value, 255], 4 * place));
  find("#seen").getContext("2d").putImageData(image, 0, 0);
}

// Hands on pictures that are chosen, dropped or pasted; what is none is said in `list`.
function takePictures(input, target, list, take) {
  const use = async (file) => {
    if (!file) return;
    list.setAttribute("aria-busy", "true");
    try {
      await take(await createImageBitmap(file));
    } catch {
      list.replaceChildren(make("li", { class: "error" }, `${file.name} is no picture that can be read here.`));
      list.setAttribute("aria-busy", "false");
    }
  };
  input.addEventListener("change", () => use(input.files[0]).then(() => { input.value = ""; }));
  target.addEventListener("dragover", (event) => { event.preventDefault(); target.classList.add("dropping"); });
  target.addEventListener("dragleave", () => target.classList.remove("dropping"));
  target.addEventListener("drop", (event) => { event.preventDefault(); target.classList.remove("dropping"); use(event.dataTransfer.files[0]); });
}

function showTexts(models) {
  const list = find("#name-votes");
  const ask = oneAtATime(list, () => vote(list, models, (model) => asInput(find("#name").value, model.signature)));
  find("#name").addEventListener("input", ask);
  ask();
}

function showRows(models) {
  for (const model of models) {
    const { features } = model.signature, list = make("ul", { class: "votes", "aria-live": "polite" });
    const rows = features.map((feature) => new Slider(feature, () => ask()));
    const ask = oneAtATime(list, () => vote(list, [model], () => asInput(rows.map((row) => row.text).join(","), model.signature)));
    find("#forms").append(make("div", { class: "card" }, make("h3", {}, model.signature.model), ...rows.map((row) => row.element), list));
    ask();
  }
}

class Slider {
  constructor({ name, unit, low, high, mean }, changed) {
    const step = 10 ** Math.floor(Math.log10((high - low) / 100));
    this.range = make("input", { type: "range", min: low, max: high, step, "aria-label": name });
    this.range.value = mean;
    this.missing = make("input", { type: "checkbox", "aria-label": `${name} is missing` });
    this.shown = make("output");
    this.element = make("div", { class: "feature" }, make("span", {}, unit ? `${name}, ${unit}` : name), this.range, this.shown, make("label", { class: "hint" }, this.missing, " missing"));
    for (const input of [this.range, this.missing]) input.addEventListener("input", () => { this.show(); changed(); });
    this.show();
  }

  get text() {
    return this.missing.checked ? "" : this.range.value;
  }

  show() {
    this.range.disabled = this.missing.checked;
    this.shown.value = this.missing.checked ? "–" : String(Number(Number(this.range.value).toPrecision(4)));
  }
}

function showPhotos(models) {
  const list = find("#photo-votes"), drop = find("#photo-drop");
  takePictures(find("#photo"), drop, list, async (picture) => {
    list.replaceChildren(make("li", { class: "hint" }, "Loading the networks …"));
    const shown = make("canvas", { width: 224, height: Math.round((224 * picture.height) / picture.width), role: "img", "aria-label": "The photograph" });
    shown.getContext("2d").drawImage(picture, 0, 0, shown.width, shown.height);
    drop.replaceChildren(shown);
    await vote(list, models, ({ signature }) => new ort.Tensor("uint8", new Uint8Array(asPhotograph(picture, signature)), [1, ...signature.input.shape.slice(1)]));
    list.setAttribute("aria-busy", "false");
  });
}

function showModels(models) {
  find("#gallery").replaceChildren(...models.map(({ signature, folder }) => {
    const names = Object.keys(signature.metrics).filter((name) => !/_(low|high)$/.test(name));
    const metrics = names.map((name) => make("tr", {}, make("td", {}, name.replaceAll("_", " ")), make("td", {}, String(Number(signature.metrics[name].toPrecision(4))))));
    const pictures = [["learning_curve", "Learning curves"], ["predictions", "Predicted against actual"]].map(([file, alt]) =>
      make("img", { src: `${folder}/${file}.png`, alt: `${alt} of ${signature.model}`, loading: "lazy" }));
    const links = [["model.onnx", "model.onnx"], ["signature.json", "signature"], ["README.md", "model card"]].flatMap(([file, text]) => [make("a", { href: `${folder}/${file}` }, text), " "]);
    return make("article", { class: "card", id: `model-${signature.model}` },
      make("h3", {}, signature.model, " ", make("span", { class: "badge" }, signature.source)),
      make("p", {}, signature.use), make("p", { class: "hint" }, signature.limits),
      make("table", {}, make("caption", { class: "hint" }, "on the test split"), ...metrics), ...pictures, make("p", {}, ...links));
  }));
}

function show(section, models, fill) {
  if (models.length === 0) return;
  find(section).hidden = false;
  fill(models);
}

async function start() {
  const names = await (await fetch("models.json")).json();
  const models = await Promise.all(names.map(async (name) => new Model(await (await fetch(`models/${name}/signature.json`)).json())));
  const has = (test) => models.filter(({ signature }) => signature.classes && signature.task !== "sequence" && test(signature));
  show("#models", models, showModels);
  show("#drawings", has((signature) => signature.ink), showDrawings);
  show("#texts", has((signature) => signature.kind === "characters"), showTexts);
  show("#rows", has((signature) => signature.features?.length > 1 && signature.features.every(({ low, high }) => low < high)), showRows);
  show("#photos", has((signature) => signature.kind === "image" && signature.input.shape[3] === 3), showPhotos);
  find("#state").textContent = `${models.length} models.`;
}

start().catch((error) => {
  find("#state").textContent = `The models could not be loaded: ${error.message}`;
  find("#state").className = "error";
});
