// The panel of models that take rows: sliders for a few numbers, or a field for each column of a table.

import { asInput, ort } from "./predict.mjs";
import { Reader, asFeeds } from "./rows.mjs";
import { Answers, askAll } from "./answers.js";
import { hint, make, oneAtATime, printable, whenSeen } from "./elements.js";

const SHAPES = { "%Y": "YYYY", "%y": "YY", "%m": "MM", "%d": "DD", "%b": "Jan", "%H": "hh", "%M": "mm", "%S": "ss" }; // of dates
const MAX_OPTIONS = 100; // of more levels one is typed

export function tables(models) {
  const [{ signature }] = models, isTable = signature.kind === "table";
  const answers = new Answers(models, () => changed(), "Waiting for a row");
  const work = oneAtATime(async () => {
    const text = textOf(), notes = new Set();
    const inputOf = (model) => (isTable ? asRow(text, model.signature, notes) : asInput(text, model.signature));
    const results = await askAll(answers.chosen, inputOf, (some) => answers.show(some));
    answers.show(results, Array.from(notes, (note) => `${note}.`));
  });
  const changed = () => {
    answers.isBusy = true;
    work();
  };
  const { element, textOf } = isTable ? fields(signature, changed) : sliders(signature, changed);
  const panel = make("div", { class: "stage rows" }, element, answers.element);
  whenSeen(panel, changed);
  return panel;
}

function asRow(text, signature, notes) {
  const row = new Reader(signature).values("This row", JSON.parse(text), () => {});
  if (row instanceof Error) throw row;
  if (row.note) notes.add(row.note);
  return asFeeds([row], signature, ort.Tensor);
}

function sliders({ features }, changed) {
  const rows = features.map((feature) => new (feature.low < feature.high ? Slider : Field)(feature, features.length === 1, changed));
  return { element: make("div", {}, ...rows.map((row) => row.element)), textOf: () => rows.map((row) => row.text).join(",") };
}

const withUnit = (name, unit) => printable(unit ? `${name}, ${unit}` : name, 80);

class Slider {
  // Over what train has of the feature; alone in its row it also goes half as far beyond, to both sides.
  constructor({ name, unit, low, high, mean }, isAlone, changed) {
    if (isAlone) [low, high] = [low - (high - low) / 2, high + (high - low) / 2];
    const step = 10 ** Math.floor(Math.log10((high - low) / 100));
    this.range = make("input", { type: "range", min: low, max: high, step, "aria-label": printable(name) });
    this.range.value = mean;
    this.missing = make("input", { type: "checkbox", "aria-label": `${printable(name)} is missing` });
    this.shown = make("output");
    const missing = make("label", { class: "check" }, this.missing, "missing");
    this.element = make("div", { class: "feature" }, make("span", {}, withUnit(name, unit)), this.range, this.shown, missing);
    for (const input of [this.range, this.missing]) {
      input.addEventListener("input", () => {
        this.show();
        changed();
      });
    }
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

class Field {
  // Of a feature that has one value in train, or of which nothing is known.
  constructor({ name, unit, mean }, _, changed) {
    this.field = textField(name, changed);
    if (mean !== null) this.field.value = Number(mean.toPrecision(4));
    this.element = make("label", { class: "feature" }, make("span", {}, withUnit(name, unit)), this.field);
  }

  get text() {
    return this.field.value;
  }
}

function textField(name, changed) {
  const field = make("input", { type: "text", autocomplete: "off", spellcheck: "false", dir: "auto", "aria-label": printable(name) });
  field.addEventListener("input", changed);
  return field;
}

// A field for each column, in JSON.
function fields({ dataset, columns, features, categories }, changed) {
  const facts = new Map(features.map((feature) => [feature.name, feature]));
  const names = [...facts.keys(), ...categories].filter((name) => columns[name]);
  const rows = names.map((name, place) => {
    const column = columns[name], { unit, mean } = facts.get(name) ?? {}, isLong = column.levels?.length > MAX_OPTIONS;
    const field = column.type === "category" && !isLong ? select(name, column.levels, changed) : textField(name, changed), list = [];
    if (column.type === "number" && mean !== null) field.placeholder = String(Number(mean.toPrecision(4))).replace(".", column.decimal ?? ".");
    if (column.type === "number") field.inputMode = "decimal";
    if (column.type === "date") field.placeholder = column.formats[0].replace(/%./g, (part) => SHAPES[part]);
    if (isLong) {
      list.push(make("datalist", { id: `levels-${dataset}-${place}` }, ...column.levels.map((level) => make("option", { value: level }))));
      field.setAttribute("list", list[0].id);
    }
    return { name, field, element: make("label", { class: "column" }, make("span", {}, withUnit(name, unit)), field, ...list) };
  });
  const about = hint("What is left empty is missing. In grey: the mean, or how a date is written.");
  const element = make("div", {}, make("div", { class: "columns" }, ...rows.map((row) => row.element)), about);
  return { element, textOf: () => JSON.stringify(Object.fromEntries(rows.map(({ name, field }) => [name, field.value]))) };
}

function select(name, levels, changed) {
  const options = levels.map((level) => make("option", { value: level }, printable(level, 80)));
  const field = make("select", { "aria-label": printable(name) }, make("option", { value: "" }, "–"), ...options);
  field.addEventListener("input", changed);
  return field;
}
