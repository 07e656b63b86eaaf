// The page: each exported model by its signature.json and model.onnx, in the folders of models.json. One's own models come first, in their
// sections and on the page; a section has a tab for each dataset, and what is in it is made, and its models are loaded, when it is needed.

import { ort } from "./predict.mjs";
import { drawings } from "./drawings.js";
import { asWords, isolated, make, printable } from "./elements.js";
import { brokenCard, card } from "./gallery.js";
import { Model, signatureOf } from "./models.js";
import { photographs } from "./photographs.js";
import { tables } from "./tables.js";
import { texts } from "./texts.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;

const find = (selector) => document.querySelector(selector);
// A lesson's network that finds where on the pad a drawing is.
const isFinder = ({ numbers, input, source }) => source !== "own" && numbers?.length === 2 && /^row/.test(numbers[0]) && /^column/.test(numbers[1]) && input.shape[3] === 1;
const SECTIONS = [
  { id: "drawings", title: "Draw", has: ({ ink }) => ink, panel: (models, all) => drawings(models, all.filter(({ signature }) => isFinder(signature))) },
  { id: "pictures", title: "Pictures", has: (signature, all) => signature.kind === "image" && !signature.ink && !(isFinder(signature) && all.some((model) => model.signature.ink)), panel: photographs },
  { id: "texts", title: "Texts", has: ({ kind }) => kind === "text" || kind === "characters", panel: texts },
  { id: "tables", title: "Tables", has: ({ kind }) => kind === "table" || kind === "features", panel: tables },
];

// A dataset's models, what they are for, and the controls to ask them, which `fill` makes.
function panelOf({ id, panel }, models, all) {
  const [{ signature }] = models, { dataset, use, limits } = signature;
  const title = make("h3", {}, isolated(asWords(titleOf(models))));
  const about = make("footer", {}, make("p", { dir: "auto" }, printable(limits)), make("p", {}, ...models.flatMap((model) => [make("a", { href: `#model-${model.name}` }, `About ${model.name}`), " "])));
  const element = make("article", { class: "panel", id: `card-${dataset}`, "data-kind": id }, make("header", {}, title, make("p", { class: "use", dir: "auto" }, printable(use))), about);
  const place = make("div", { class: "room" });
  about.before(place);
  const fill = () => {
    if (place.hasChildNodes()) return;
    try {
      place.append(panel(models, all));
    } catch (error) { // of what a signature says that is not used before
      place.append(make("p", { class: "error" }, `${title.textContent} cannot be shown: its signature is damaged, or of a later version than this page (${printable(error.message)}).`));
    }
  };
  return { element, fill };
}

const titleOf = ([model, ...others]) => (others.length ? model.signature.dataset : model.name);

function sectionOf(section, models, all) {
  const groups = Map.groupBy(models, ({ signature }) => signature.dataset), panels = [...groups.values()].map((group) => panelOf(section, group, all));
  const heading = make("h2", { id: `${section.id}-title` }, section.title), head = make("div", { class: "head" }, heading);
  if (panels.length > 1) head.append(tabs(section.title, [...groups.values()], panels));
  else panels[0].fill();
  return make("section", { id: section.id, "aria-labelledby": heading.id }, head, ...panels.map(({ element }) => element));
}

// One panel at a time. The arrows go from tab to tab, as readers of screens expect it.
function tabs(label, groups, panels) {
  const all = groups.map((group, place) => {
    const { id } = panels[place].element;
    return make("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": id, class: group[0].isOwn ? "own" : "lesson" }, asWords(titleOf(group)));
  });
  const select = (chosen) => all.forEach((tab, place) => {
    tab.setAttribute("aria-selected", String(place === chosen));
    tab.tabIndex = place === chosen ? 0 : -1;
    panels[place].element.hidden = place !== chosen;
    if (place === chosen) panels[place].fill();
  });
  all.forEach((tab, place) => {
    panels[place].element.setAttribute("role", "tabpanel");
    panels[place].element.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => select(place));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: all.length - 1 }[key];
      if (to === undefined) return;
      const next = (to + all.length) % all.length;
      select(next);
      all[next].focus();
    });
  });
  select(0);
  return make("div", { class: "tabs", role: "tablist", "aria-label": label }, ...all);
}

function show(models) {
  const made = SECTIONS.map((section) => ({ section, own: models.filter(({ signature }) => section.has(signature, models)) })).filter(({ own }) => own.length);
  made.sort((a, b) => b.own[0].isOwn - a.own[0].isOwn); // stable: else as above
  find("#sections").replaceChildren(...made.map(({ section, own }) => sectionOf(section, own, models)));
  const links = [...made.map(({ section: { id, title } }) => [id, title]), ["models", "All models"]];
  find("nav").replaceChildren(...links.map(([id, title]) => make("a", { href: `#${id}` }, title)));
  const own = models.filter(({ isOwn }) => isOwn);
  if (own.length) document.title = `${[...new Set(own.map((model) => asWords(model.signature.dataset)))].slice(0, 3).join(", ")} · Reprise`;
}

async function start() {
  const entries = await (await fetch("models.json")).json(), broken = [];
  const found = await Promise.all(entries.map(({ model }) => signatureOf(model).catch((error) => { broken.push([model, error]); })));
  const models = found.filter(Boolean).map((signature) => new Model(signature)).sort((a, b) => b.isOwn - a.isOwn);
  const files = new Map(entries.map((entry) => [entry.model, entry.files]));
  show(models);
  find("#gallery").replaceChildren(...broken.map(([model, error]) => brokenCard(model, error)), ...models.map((model) => card(model, files.get(model.name))));
  const hidden = broken.length ? ` ${broken.length === 1 ? "A model" : `${broken.length} models`} cannot be shown: see below.` : "";
  find("#state").textContent = `Everything runs in this page: nothing is sent anywhere.${hidden}`;
  find("#models-title").textContent = `All models: ${models.length}`;
  addEventListener("hashchange", openLinked);
  openLinked();
}

// A link to a model's card opens it.
function openLinked() {
  const linked = /^#model-[\w.-]+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
  if (!linked) return;
  linked.open = true;
  linked.scrollIntoView();
}

start().catch((error) => {
  find("#state").textContent = `The models could not be loaded: ${error.message}`;
  find("#state").classList.add("error");
});
