// How answers are shown: one model's classes as bars, those of several models below each other, and those of several items in a list.
//
// Results are a Map from a model to { answer }, as models.js has it, or { error }; a model without one is still at work.

import { hint, inBytes, isolated, make, percent, printable } from "./elements.js";

const SHOWN = 8, SHOWN_BESIDE = 3; // classes, the most probable first
const LONG = 24; // letters of an answer that is set smaller

// What models make of an input; `heard` is called after each, with all results until then.
export async function askAll(models, inputOf, heard = () => {}) {
  const results = new Map();
  await Promise.all(models.map(async (model) => {
    try {
      results.set(model, { answer: await model.answer(await inputOf(model)) });
    } catch (error) {
      results.set(model, { error });
    }
    heard(results);
  }));
  return results;
}

export class Answers {
  // `changed` is called when other models are chosen; `waiting` is what there is to do before there is an answer.
  constructor(models, changed, waiting) {
    [this.chosen, this.waiting] = [models, waiting];
    this.list = make("ul", { class: "answers" });
    this.status = make("p", { class: "unseen", role: "status" }); // read out instead of all that is shown
    this.element = make("div", { class: "said" }, ...(models.length > 1 ? [this.choice(models, changed)] : []), this.list, this.status);
    this.idle();
  }

  choice(models, changed) {
    const chips = models.map((model) => {
      const box = make("input", { type: "checkbox", checked: "" });
      box.addEventListener("change", () => {
        this.chosen = models.filter((_, place) => chips[place].querySelector("input").checked);
        changed();
      });
      return make("label", { class: "chip" }, box, model.name);
    });
    const group = make("div", { role: "group", "aria-label": "Models that answer" }, ...chips);
    return make("details", { class: "choice" }, make("summary", {}, `${models.length} models answer`), group);
  }

  get isBusy() {
    return this.list.getAttribute("aria-busy") === "true";
  }

  set isBusy(value) {
    this.list.setAttribute("aria-busy", String(value));
  }

  // Before anything is asked: the classes that there are, with room for what comes.
  idle(sentence = this.waiting) {
    const bars = this.chosen.length === 1 ? emptyBars(this.chosen[0]) : [];
    this.list.replaceChildren(make("li", { class: "idle" }, make("p", { class: "verdict" }, sentence), ...bars));
    [this.status.textContent, this.isBusy] = ["", false];
  }

  refuse(sentence) {
    this.list.replaceChildren(make("li", { class: "error" }, printable(sentence)));
    [this.status.textContent, this.isBusy] = [printable(sentence), false];
  }

  // `notes` are sentences for the person who asks; what changes all the time, `isLive`, is not read out.
  show(results, notes = [], isLive = false) {
    if (this.chosen.length === 0) return this.idle("Choose a model");
    const isAlone = this.chosen.length === 1;
    const lines = this.chosen.map((model) => {
      const label = isAlone ? [] : [make("span", { class: "name" }, model.name)];
      const said = make("div", {}, ...this.parts(model, results.get(model), isAlone));
      return make("li", { "data-model": model.name, class: isAlone ? "alone" : "beside" }, ...label, said);
    });
    this.list.replaceChildren(...lines, ...notes.map((note) => make("li", { class: "hint" }, printable(note))));
    this.isBusy = !this.chosen.every((model) => results.has(model));
    if (this.isBusy || isLive) return;
    this.status.textContent = this.chosen.map((model) => (isAlone ? "" : `${model.name}: `) + inShort(results.get(model))).join("; ");
  }

  parts(model, result, isAlone) {
    if (!result) return [loading(model), ...(isAlone ? emptyBars(model) : [])];
    if (result.error) return [make("p", { class: "error" }, `${printable(result.error.message)}.`)];
    const { answer } = result, text = make("strong", {}, ...verdict(answer));
    if (text.textContent.length > LONG) text.className = "long";
    const share = answer.classes && !answer.mayBeSeveral ? [make("span", { class: "share" }, percent(answer.classes[0].share))] : [];
    if (!isAlone) return [text, " ", ...share, " ", ...(answer.classes ? others(answer) : [])];
    return [make("p", { class: "verdict" }, text, " ", ...share), ...(answer.classes ? [barsOf(answer)] : [])];
  }

  // Of several items: { title, results } each, `title` a text; with a sentence below.
  showMany(items, note = "") {
    const lines = items.map(({ title, results }) => {
      const said = this.chosen.map((model) => {
        const label = this.chosen.length > 1 ? [make("span", { class: "name" }, `${model.name} `)] : [];
        return make("div", { "data-model": model.name }, ...label, ...this.parts(model, results.get(model), false).slice(0, 3));
      });
      return make("li", { class: "line" }, make("span", { class: "title" }, isolated(title)), ...said);
    });
    this.list.replaceChildren(...lines, ...(note ? [make("li", { class: "hint" }, note)] : []));
    this.isBusy = !items.every(({ results }) => this.chosen.every((model) => results.has(model)));
    if (!this.isBusy) this.status.textContent = `${items.length} answers`;
  }
}

// What is said first: the class, or those that there are, or numbers, or a text.
function verdict({ classes, mayBeSeveral, numbers, text }) {
  if (numbers) return numbers.flatMap(({ name, value }, place) => [place ? ", " : "", isolated(name), ` ${number(value)}`]);
  if (text !== undefined) return [isolated(text)];
  if (!mayBeSeveral) return [isolated(classes[0].name)];
  const there = classes.filter(({ isSet }) => isSet).slice(0, SHOWN);
  return there.length ? there.flatMap((one, place) => [place ? ", " : "", isolated(one.name)]) : ["none of them"];
}

const number = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "no finite number");

export function inShort({ answer, error }) {
  if (error) return printable(error.message);
  const text = make("span", {}, ...verdict(answer)).textContent;
  return answer.classes && !answer.mayBeSeveral ? `${text} ${percent(answer.classes[0].share)}` : text;
}

// A bar for each of the most probable classes; the others in a line.
function barsOf({ classes, mayBeSeveral }, sharesOf = percent) {
  const line = (label, share, isSet, middle = bar(share)) =>
    make("li", isSet ? { class: "set" } : {}, label, middle, make("span", { class: "share" }, sharesOf(share)));
  const lines = classes.slice(0, SHOWN).map(({ name, share, isSet }) => line(isolated(name), share, isSet)), rest = classes.slice(SHOWN);
  const others = make("span", {}, `${rest.length} other${rest.length === 1 ? "" : "s"}${mayBeSeveral ? ", at most" : ""}`);
  if (rest.length && mayBeSeveral) lines.push(line(others, rest[0].share, false, make("span"))); // they do not sum to 1
  else if (rest.length) lines.push(line(others, rest.reduce((sum, { share }) => sum + share, 0), false));
  return make("ol", { class: "bars" }, ...lines);
}

function emptyBars({ signature: { task, classes } }) {
  if (task === "regression" || task === "sequence") return [];
  return [barsOf({ classes: classes.map((one) => ({ name: one, share: 0 })), mayBeSeveral: task === "multilabel" }, () => "")];
}

function bar(share) {
  const filled = make("span");
  filled.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return make("span", { class: "track", "aria-hidden": "true" }, filled);
}

function others({ classes, mayBeSeveral }) {
  const next = mayBeSeveral ? classes.slice(0, SHOWN_BESIDE) : classes.slice(1, SHOWN_BESIDE);
  const words = next.flatMap((one, place) => [place ? ", " : "", isolated(one.name), ` ${percent(one.share)}`]);
  return [make("span", { class: "hint" }, ...words), ...(mayBeSeveral ? [] : [bar(classes[0].share)])];
}

const LOADING = new WeakMap(); // the line of each model

// How much of a model is there, while it is fetched.
function loading(model) {
  if (model.isLoaded) return make("p", { class: "verdict hint" }, "…");
  if (!LOADING.has(model)) LOADING.set(model, loadingLine(model));
  return LOADING.get(model);
}

function loadingLine(model) {
  const progress = make("progress", { "aria-label": `Loading ${model.name}` }), text = make("span");
  const show = () => {
    const size = model.total || model.count;
    text.textContent = `Loading the model${size ? `, ${inBytes(size)}` : ""} …`;
    if (model.total) [progress.max, progress.value] = [model.total, model.count];
  };
  model.addEventListener("progress", show);
  show();
  return make("p", { class: "verdict loading" }, text, progress);
}
