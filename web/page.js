// The page: each exported model by its signature.json and model.onnx, in the folders of models.json. One's own models come first, in their
// sections and on the page. A section has a tab for each dataset; what is below it is made, and models are loaded, when they are needed.

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
const isOf = (...kinds) => ({ signature }) => kinds.includes(signature.kind);
const isDrawn = ({ signature }) => Boolean(signature.ink);
// A lesson's network that finds where on the pad a drawing is.
const isFinder = ({ signature: { numbers, input }, isOwn }) =>
  !isOwn && numbers?.length === 2 && /^row/.test(numbers[0]) && /^column/.test(numbers[1]) && input.shape[3] === 1;
const isShown = (model, all) => isOf("image")(model) && !isDrawn(model) && !(isFinder(model) && all.some(isDrawn));

// In this order, but those with models of one's own first.
const SECTIONS = [
  { id: "drawings", title: "Draw", has: isDrawn, panel: (models, all) => drawings(models, all.filter(isFinder)) },
  { id: "pictures", title: "Pictures", has: isShown, panel: photographs },
  { id: "texts", title: "Texts", has: isOf("text", "characters"), panel: texts },
  { id: "tables", title: "Tables", has: isOf("table", "features"), panel: tables },
];

// A dataset's models: what they are for, the controls to ask them, which `fill` makes, and what to beware of.
function panelOf({ panel }, models, all) {
  const [{ signature }] = models, title = isolated(asWords(titleOf(models))), place = make("div");
  const links = models.flatMap((model) => [make("a", { href: `#model-${model.name}` }, `About ${model.name}`), " "]);
  const element = make("article", { class: "panel", id: `card-${signature.dataset}` },
    make("header", {}, make("h3", {}, title), make("p", { class: "use", dir: "auto" }, printable(signature.use))),
    place,
    make("footer", {}, make("p", { dir: "auto" }, printable(signature.limits)), make("p", {}, ...links)));
  const fill = () => {
    if (place.hasChildNodes()) return;
    try {
      place.append(panel(models, all));
    } catch (error) { // what a signature says of its columns is used here first
      const why = `a signature is damaged, or of a later version than this page (${printable(error.message)})`;
      place.append(make("p", { class: "error" }, `This cannot be shown: ${why}.`));
    }
  };
  return { element, fill };
}

const titleOf = ([model, ...others]) => (others.length ? model.signature.dataset : model.name);

function sectionOf(section, models, all) {
  const groups = [...Map.groupBy(models, ({ signature }) => signature.dataset).values()];
  const panels = groups.map((group) => panelOf(section, group, all));
  const heading = make("h2", { id: `${section.id}-title` }, section.title), head = make("div", { class: "head" }, heading);
  if (panels.length > 1) head.append(tabs(section.title, groups, panels));
  else panels[0].fill();
  return make("section", { id: section.id, "aria-labelledby": heading.id }, head, ...panels.map(({ element }) => element));
}

// One panel at a time. The arrows go from tab to tab, as readers of screens expect it.
function tabs(label, groups, panels) {
  const all = groups.map((group, place) => {
    const { element } = panels[place], attributes = { role: "tab", id: `tab-${element.id}`, "aria-controls": element.id };
    element.setAttribute("role", "tabpanel");
    element.setAttribute("aria-labelledby", attributes.id);
    return make("button", { type: "button", class: group[0].isOwn ? "own" : "lesson", ...attributes }, asWords(titleOf(group)));
  });
  const select = (chosen) => all.forEach((tab, place) => {
    tab.setAttribute("aria-selected", String(place === chosen));
    tab.tabIndex = place === chosen ? 0 : -1;
    panels[place].element.hidden = place !== chosen;
    if (place === chosen) panels[place].fill();
  });
  all.forEach((tab, place) => {
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
  const made = SECTIONS.map((section) => ({ ...section, models: models.filter((model) => section.has(model, models)) }));
  const shown = made.filter((section) => section.models.length).sort((a, b) => b.models[0].isOwn - a.models[0].isOwn);
  find("#sections").replaceChildren(...shown.map((section) => sectionOf(section, section.models, models)));
  const links = [...shown, { id: "models", title: "All models" }].map(({ id, title }) => make("a", { href: `#${id}` }, title));
  find("nav").replaceChildren(...links);
  const own = new Set(models.filter(({ isOwn }) => isOwn).map(({ signature }) => asWords(signature.dataset)));
  if (own.size) document.title = `${[...own].slice(0, 3).join(", ")} · Reprise`;
}

async function start() {
  const entries = await (await fetch("models.json")).json(), models = [], broken = [];
  await Promise.all(entries.map(async ({ model, files }) => {
    try {
      models.push(new Model(await signatureOf(model), files));
    } catch (error) {
      broken.push([model, error]);
    }
  }));
  const places = new Map(entries.map(({ model }, place) => [model, place]));
  models.sort((a, b) => b.isOwn - a.isOwn || places.get(a.name) - places.get(b.name));
  show(models);
  find("#gallery").replaceChildren(...broken.map(([model, error]) => brokenCard(model, error)), ...models.map(card));
  find("#models-title").textContent = `All models: ${models.length}`;
  find("#models").hidden = false;
  const hidden = broken.length ? ` ${broken.length === 1 ? "A model" : `${broken.length} models`} cannot be shown: see below.` : "";
  find("#state").textContent = `Everything runs in this page: nothing is sent anywhere.${hidden}`;
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
