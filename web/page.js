// The page: each exported model by its signature.json and model.onnx, in the folders of models.json.

import { asInput, check, fold, inWords, open, ort } from "./predict.mjs";
import { Reader, asFeeds } from "./rows.mjs";
import { Pad } from "./pad.js";
import { asPhotograph, cutOutDrawing, lightOnDark, onPaper } from "./pictures.js";

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
      const session = await open(`${this.folder}/model.onnx`, "model.onnx");
      await check(session, this.signature);
      return session;
    })();
    return this.loading;
  }

  // Its outputs by name; `input` is one tensor, or several by name.
  async answer(input) {
    const session = await this.session(), feeds = input instanceof ort.Tensor ? { [this.signature.input.name]: input } : input;
    const run = () => session.run(feeds);
    return (Model.queue = Model.queue.then(run, run)); // the runtime takes one call at a time
  }

  first(outputs) {
    return Array.from(outputs[this.signature.outputs[0].name].data);
  }

  get namesOneClass() {
    return this.signature.task === "binary" || this.signature.task === "multiclass";
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

// A line for each model: what it says, or what went wrong. `heard` is told each model's outputs.
async function vote(list, models, inputOf, heard = () => {}) {
  const lines = await Promise.all(models.map(async (model) => {
    const name = make("span", { class: "name" }, model.signature.model);
    try {
      const outputs = await model.answer(inputOf(model));
      heard(model, outputs);
      const said = model.namesOneClass ? bestClasses(model, outputs) : [make("strong", { class: "words" }, inWords(outputs, model.signature))];
      return make("li", { "data-model": model.signature.model }, name, make("div", {}, ...said));
    } catch (error) {
      return make("li", {}, name, make("div", { class: "error" }, error.message));
    }
  }));
  list.replaceChildren(...lines);
}

// The most probable class large, with its share, and the next ones beside it.
function bestClasses(model, outputs) {
  const shares = model.first(outputs);
  const [best, ...others] = model.signature.classes.map((name, place) => [name, shares[place]]).sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
  const bar = make("progress", { max: 1, value: best[1], "aria-label": percent(best[1]) });
  return [make("strong", {}, best[0]), ` ${percent(best[1])} `, make("span", { class: "hint" }, others.map(([name, share]) => `${name} ${percent(share)}`).join(", ")), bar];
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

// `finders` say where on the pad a drawing is, as it was drawn; the others read it, cut out and centred.
function showDrawings(models, finders) {
  const [height, width] = models[0].signature.input.shape.slice(1), list = find("#digit-votes");
  let photo = null; // that was put on the pad, and not drawn over
  const ask = oneAtATime(list, async () => {
    const side = models[0].signature.ink.longer_side;
    const cut = pad.isEmpty ? null : cutOutDrawing(photo ?? pad.layer, width, height, side);
    showSeen(cut ?? new Uint8Array(width * height), width, height);
    if (cut === null) return list.replaceChildren(make("li", { class: "hint" }, pad.isEmpty ? "Draw a digit." : "There is no drawing to be seen."));
    const inputOf = ({ signature }) => {
      const [, rows, columns] = signature.input.shape;
      return new ort.Tensor("uint8", signature.ink ? cut : lightOnDark(pad.layer, columns, rows), [1, rows, columns, 1]);
    };
    await vote(list, [...models, ...finders], inputOf, (model, outputs) => {
      if (!finders.includes(model)) return;
      const [row, column] = model.first(outputs), [, rows, columns] = model.signature.input.shape;
      pad.mark((column + 0.5) / columns, (row + 0.5) / rows);
    });
  });
  const pad = new Pad(find("#pad"), () => {
    photo = null;
    ask();
  });
  find("#clear").addEventListener("click", () => pad.clear());
  takePictures(find("#digit"), find("#pad"), list, (picture) => {
    const paper = onPaper(picture);
    pad.put(paper);
    photo = paper; // larger than the pad
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
      list.replaceChildren(make("li", { class: "error" }, `${file.name} is no picture that can be read here, or one too large.`));
      list.setAttribute("aria-busy", "false");
    }
  };
  input.addEventListener("change", () => use(input.files[0]).then(() => { input.value = ""; }));
  const section = target.closest("section");
  document.addEventListener("paste", (event) => {
    if (section.contains(document.activeElement) || section.matches(":hover")) use(event.clipboardData.files[0]);
  });
  target.addEventListener("dragover", (event) => { event.preventDefault(); target.classList.add("dropping"); });
  target.addEventListener("dragleave", () => target.classList.remove("dropping"));
  target.addEventListener("drop", (event) => { event.preventDefault(); target.classList.remove("dropping"); use(event.dataTransfer.files[0]); });
}

// A card for each dataset, with its controls and what its models make of what they say.
function showCards(place, models, controlsOf) {
  for (const [dataset, own] of byDataset(models)) {
    const list = make("ul", { class: "votes", "aria-live": "polite" }), ask = oneAtATime(list, async () => {
      const text = textOf(), [{ signature: { kind } }] = own, notes = new Set();
      await vote(list, own, ({ signature }) => (kind === "table" ? asRow(text, signature, notes) : asInput(text, signature)));
      list.append(...Array.from(notes, (note) => make("li", { class: "hint" }, `${note}.`)));
      if (kind === "characters" && ![text, ""].includes(fold(text))) list.append(make("li", { class: "hint" }, `Read as ${fold(text)}.`));
    });
    const { elements, textOf } = controlsOf(own[0].signature, ask);
    find(place).append(make("div", { class: "card", id: `card-${dataset}` }, make("h3", {}, dataset), ...elements, list));
    ask();
  }
}

function textField({ dataset, alphabet, use }, changed) {
  const field = make("input", { type: "text", value: alphabet ?? "Nakamura", "aria-label": dataset, autocomplete: "off", spellcheck: "false", maxlength: 40 });
  field.addEventListener("input", changed);
  const hint = alphabet ? `${use} Of the letters ${Array.from(alphabet).join(", ")}.` : use;
  return { elements: [make("p", { class: "hint" }, hint), make("p", {}, field)], textOf: () => field.value };
}

function sliders({ features }, changed) {
  const rows = features.map((feature) => new Slider(feature, features.length === 1, changed));
  return { elements: rows.map((row) => row.element), textOf: () => rows.map((row) => row.text).join(",") };
}

const SHAPES = { "%Y": "YYYY", "%y": "YY", "%m": "MM", "%d": "DD", "%b": "Jan", "%H": "hh", "%M": "mm", "%S": "ss" }; // of dates

// A field for each column, in JSON.
function fields({ columns, features, categories }, changed) {
  const facts = new Map(features.map((feature) => [feature.name, feature]));
  const names = [...facts.keys(), ...categories].filter((name) => columns[name]);
  const rows = names.map((name) => {
    const column = columns[name], { unit, mean } = facts.get(name) ?? {};
    const field = column.type === "category" ? select(column.levels) : make("input", { type: "text", autocomplete: "off", spellcheck: "false" });
    if (column.type === "number" && mean !== null) field.placeholder = String(mean).replace(".", column.decimal ?? ".");
    if (column.type === "number") field.inputMode = "decimal";
    if (column.type === "date") field.placeholder = column.formats[0].replace(/%./g, (part) => SHAPES[part]);
    field.setAttribute("aria-label", name);
    field.addEventListener("input", changed);
    return { name, field, element: make("label", { class: "column" }, make("span", {}, unit ? `${name}, ${unit}` : name), field) };
  });
  const hint = make("p", { class: "hint" }, "What is left empty is missing. In grey: the mean, or how a date is written.");
  return { elements: [hint, make("div", { class: "columns" }, ...rows.map((row) => row.element))], textOf: () => JSON.stringify(Object.fromEntries(rows.map(({ name, field }) => [name, field.value]))) };
}

function select(levels) {
  return make("select", {}, make("option", { value: "" }, "–"), ...levels.map((level) => make("option", { value: level }, level)));
}

function asRow(text, signature, notes) {
  const row = new Reader(signature).values("This row", JSON.parse(text), () => {});
  if (row instanceof Error) throw row;
  if (row.note) notes.add(row.note);
  return asFeeds([row], signature, ort.Tensor);
}

function byDataset(models) {
  const groups = new Map();
  for (const model of models) groups.set(model.signature.dataset, [...(groups.get(model.signature.dataset) ?? []), model]);
  return groups;
}

class Slider {
  // Over what train has of the feature; alone in its row it also goes half as far beyond, to both sides.
  constructor({ name, unit, low, high, mean }, isAlone, changed) {
    if (isAlone) [low, high] = [low - (high - low) / 2, high + (high - low) / 2];
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
    const names = Object.keys(signature.metrics).filter((name) => !/^baseline_|_(low|high)$/.test(name));
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
  find(`nav a[href="${section}"]`).hidden = models.length === 0;
  if (models.length === 0) return;
  find(section).hidden = false;
  fill(models);
}

async function signatureOf(name) {
  try {
    return await (await fetch(`models/${name}/signature.json`)).json();
  } catch (error) {
    throw new Error(`models/${name}/signature.json cannot be read (${error.message})`);
  }
}

async function start() {
  const names = await (await fetch("models.json")).json();
  const models = await Promise.all(names.map(async (name) => new Model(await signatureOf(name))));
  const all = (test) => models.filter(({ signature }) => test(signature)), has = (test) => all(test).filter((model) => model.namesOneClass);
  const finders = all(({ numbers, input }) => numbers?.length === 2 && /^row/.test(numbers[0]) && /^column/.test(numbers[1]) && input.shape[3] === 1);
  show("#models", models, showModels);
  show("#drawings", has((signature) => signature.ink), (drawings) => showDrawings(drawings, finders));
  show("#texts", all((signature) => signature.kind === "characters"), (own) => showCards("#fields", own, textField));
  show("#rows", all(({ kind, features }) => kind === "features" && features.every(({ low, high }) => low < high)), (own) => showCards("#forms", own, sliders));
  show("#tables", all((signature) => signature.kind === "table"), (own) => showCards("#tables-forms", own, fields));
  show("#photos", has((signature) => signature.kind === "image" && signature.input.shape[3] === 3), showPhotos);
  find("#state").textContent = `${models.length} models.`;
}

start().catch((error) => {
  find("#state").textContent = `The models could not be loaded: ${error.message}`;
  find("#state").className = "error";
});
