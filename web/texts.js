// The panel of models that read texts, in any script: an answer as one types; several lines may be several texts.

import { asInput, noteOn } from "./predict.mjs";
import { Answers, askAll } from "./answers.js";
import { button, hint, isolated, make, oneAtATime, printable, whenSeen } from "./elements.js";

const MAX_LINES = 100, PAUSE = 80; // ms between a letter and its answer
// To begin with, where nothing may be shown of what a model has learned from.
const TRIED = ["Where is my parcel? It should have been here on Monday.", "You have won a prize! Call now to claim it.", "Das Treffen ist auf Freitag verschoben.", "今天的天气很好。", "هل يمكنك مساعدتي من فضلك؟"];
const NAMES = ["Nakamura", "Okafor", "Schmidhuber", "García", "O'Brien"];

export function texts(models) {
  const [{ signature, isOwn }] = models, { alphabet, kind } = signature, isShort = kind === "characters";
  const field = make("textarea", {
    "aria-label": `Text for ${signature.dataset}`, dir: "auto", rows: isShort ? 2 : 5, placeholder: "Type or paste a text, in any script …",
    autocomplete: "off", autocapitalize: "off", spellcheck: "false", // some browsers send what they spell-check
  });
  const perLine = make("input", { type: "checkbox", checked: "" }), lines = make("label", { class: "check" }, perLine, "Each line is a text of its own");
  const answers = new Answers(models, () => changed(), "Waiting for a text");
  const work = oneAtATime(async () => {
    const written = field.value.split(/\r\n|[\n\r\u2028\u2029]/u).filter((line) => line.trim() !== "");
    lines.hidden = written.length < 2;
    const all = written.length > 1 && perLine.checked ? written : written.length ? [field.value.trim()] : [];
    if (all.length === 0) return answers.idle();
    if (all.length > 1) return askMany(all);
    const results = await askAll(answers.chosen, (model) => asInput(all[0], model.signature), (results) => answers.show(results));
    const note = noteOn(all[0], signature);
    answers.show(results, note ? [`${note[0].toUpperCase()}${note.slice(1)}.`] : []);
  }, PAUSE);
  const askMany = async (all) => {
    const items = all.slice(0, MAX_LINES).map((title) => ({ title, results: new Map() })), before = field.value;
    if (!answers.chosen.every((model) => model.isLoaded)) answers.show(new Map());
    for (const item of items) {
      if (field.value !== before) return; // the next call answers what is there now
      item.results = await askAll(answers.chosen, (model) => asInput(item.title, model.signature));
    }
    answers.showMany(items, all.length > MAX_LINES ? `The first ${MAX_LINES} of ${all.length} lines are answered.` : "");
  };
  const changed = () => {
    answers.isBusy = true;
    work();
  };
  field.addEventListener("input", changed);
  perLine.addEventListener("change", changed);
  const set = (text) => {
    field.value = text;
    changed();
  };
  const tried = isShort ? (alphabet ? [alphabet] : NAMES) : TRIED;
  const samples = tried.map((text) => button(isolated(text, 40), () => set(text), { class: "sample" }));
  lines.hidden = true;
  const below = make("div", { class: "below" }, make("div", { class: "samples", role: "group", "aria-label": "Texts to try" }, ...samples));
  if (alphabet) below.append(hint(`Of the letters ${printable(Array.from(alphabet).join(", "))}.`));
  const element = make("div", { class: "stage" }, make("div", {}, field, lines), answers.element, below);
  if (!isOwn) whenSeen(element, () => field.value || set(tried[0])); // a lesson shows what it is about
  return element;
}
