// All models: what each is for, its metrics, pictures and files; and those that cannot be shown, with a sentence.

import { asWords, hint, isolated, make, printable } from "./elements.js";

const PICTURES = [["learning_curve.png", "Learning curves"], ["predictions.png", "Predicted against actual"]];
const LINKS = [["model.onnx", "model.onnx"], ["signature.json", "signature"], ["README.md", "model card"]];

// `files` are the names of those that came with the model.
export function card({ signature, folder }, files) {
  const measured = Object.entries(signature.metrics).filter(([metric, value]) => !/^baseline_|_(low|high)$/.test(metric) && Number.isFinite(value));
  const rows = measured.map(([metric, value]) => make("tr", {}, make("td", {}, isolated(asWords(metric))), make("td", {}, asNumber(value))));
  const pictures = PICTURES.filter(([file]) => files.includes(file)).map(([file, alt]) => make("img", { src: `${folder}/${file}`, alt: `${alt} of ${signature.model}`, loading: "lazy" }));
  const links = LINKS.filter(([file]) => files.includes(file)).map(([file, text]) => make("a", { href: `${folder}/${file}` }, text));
  return make("details", { class: "card", id: `model-${signature.model}` },
    make("summary", {}, make("h3", {}, signature.model), make("span", { class: "badge" }, printable(signature.source, 20)), ...first(measured)),
    make("p", { dir: "auto" }, printable(signature.use)), make("p", { class: "hint", dir: "auto" }, printable(signature.limits)),
    ...(rows.length ? [make("table", {}, make("caption", { class: "hint" }, "on the test split"), ...rows)] : []), ...pictures, make("p", { class: "links" }, ...links));
}

function first([best]) {
  return best ? [make("span", { class: "figure" }, isolated(asWords(best[0])), ` ${asNumber(best[1])}`)] : [];
}

const asNumber = (value) => String(Number(value.toPrecision(4)));

export function brokenCard(model, error) {
  return make("div", { class: "card broken" }, make("h3", {}, isolated(model)), make("p", { class: "error" }, `${printable(error.message)}.`), hint("It is left out above; the others are not affected."));
}
