// The panel of models that read texts, in any script: an answer as one types; several lines may be several texts.

import { asInput, noteOn } from "./predict.mjs";
import { Answers, askAll } from "./answers.js";
import { button, hint, isolated, make, oneAtATime, printable, whenSeen } from "./elements.js";

const MAX_LINES = 100, PAUSE = 80; // ms between a letter and its answer
const LINE_ENDS = /\r\n|[\n\r\u2028\u2029]/u;
// To begin with, where nothing may be shown of what a model has learned from.
const TRIED = [
  "Where is my parcel? It should have been here on Monday.",
  "You have won a prize! Call now to claim it.",
  "Das Treffen ist auf Freitag verschoben.",
  "今天的天气很好。",
  "هل يمكنك مساعدتي من فضلك؟",
];
const NAMES = ["Nakamura", "Okafor", "Schmidhuber", "García", "O'Brien"];

export function texts(models) {
  const [{ signature, isOwn }] = models, isShort = signature.kind === "characters";
  const field = make("textarea", {
    "aria-label": `Text for ${signature.dataset}`, dir: "auto", rows: isShort ? 2 : 5, placeholder: "Type or paste a text …",
    autocomplete: "off", autocapitalize: "off", spellcheck: "false", // some browsers send what they spell-check
  });
  const box = make("input", { type: "checkbox", checked: "" });
  const perLine = make("label", { class: "check" }, box, "Each line is a text of its own");
  const answers = new Answers(models, () => changed(), "Waiting for a text");

  const work = oneAtATime(async () => {
    const lines = field.value.split(LINE_ENDS).filter((line) => line.trim() !== "");
    perLine.hidden = lines.length < 2;
    if (lines.length === 0) return answers.idle();
    return lines.length > 1 && box.checked ? askMany(lines) : askOne(field.value.trim());
  }, PAUSE);
  const ask = (text, heard) => askAll(answers.chosen, (model) => asInput(text, model.signature), heard);
  const askOne = async (text) => {
    const results = await ask(text, (some) => answers.show(some)), note = noteOn(text, signature);
    answers.show(results, note ? [`${note[0].toUpperCase()}${note.slice(1)}.`] : []);
  };
  const askMany = async (lines) => {
    const before = field.value, items = [];
    if (!answers.chosen.every((model) => model.isLoaded)) answers.show(new Map());
    for (const title of lines.slice(0, MAX_LINES)) {
      if (field.value !== before) return; // the next call answers what is there now
      items.push({ title, results: await ask(title) });
    }
    answers.showMany(items, lines.length > MAX_LINES ? `The first ${MAX_LINES} of ${lines.length} lines are answered.` : "");
  };
  const changed = () => {
    answers.isBusy = true;
    work();
  };
  const set = (text) => {
    field.value = text;
    changed();
  };

  field.addEventListener("input", changed);
  box.addEventListener("change", changed);
  perLine.hidden = true;
  const tried = !isShort ? TRIED : signature.alphabet ? [signature.alphabet] : NAMES;
  const samples = tried.map((text) => button(isolated(text, 40), () => set(text), { class: "sample" }));
  const below = make("div", { class: "below" }, make("div", { class: "samples", role: "group", "aria-label": "Texts to try" }, ...samples));
  if (signature.alphabet) below.append(hint(`Of the letters ${printable(Array.from(signature.alphabet).join(", "))}.`));
  const panel = make("div", { class: "stage" }, make("div", {}, field, perLine), answers.element, below);
  if (!isOwn) { // a lesson shows what it is about
    [field.value] = tried;
    whenSeen(panel, changed);
  }
  return panel;
}
