// All models: what each is for, its metrics, pictures and files; and those that cannot be shown, with a sentence.

import { asWords, hint, isolated, make, printable } from "./elements.js";

const PICTURES = { "learning_curve.png": "Learning curves", "predictions.png": "Predicted against actual" };
const LINKS = { "model.onnx": "model.onnx", "signature.json": "signature", "README.md": "model card" };

export function card({ signature, folder, files }) {
  const { model, source, use, limits, metrics } = signature;
  const given = (known) => Object.entries(known).filter(([file]) => files.includes(file));
  const measured = Object.entries(metrics).filter(([metric, value]) => !/^baseline_|_(low|high)$/.test(metric) && Number.isFinite(value));
  const cells = measured.map(([metric, value]) => [isolated(asWords(metric)), asNumber(value)]);
  const rows = cells.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))));
  const [best] = measured, figure = best ? [make("span", { class: "figure" }, isolated(asWords(best[0])), ` ${asNumber(best[1])}`)] : [];
  return make("details", { class: "card", id: `model-${model}` },
    make("summary", {}, make("h3", {}, model), make("span", { class: "badge" }, printable(source, 20)), ...figure),
    make("p", { dir: "auto" }, printable(use)),
    make("p", { class: "hint", dir: "auto" }, printable(limits)),
    ...(rows.length ? [make("table", {}, make("caption", { class: "hint" }, "on the test split"), ...rows)] : []),
    ...given(PICTURES).map(([file, what]) => make("img", { src: `${folder}/${file}`, alt: `${what} of ${model}`, loading: "lazy" })),
    make("p", { class: "links" }, ...given(LINKS).map(([file, text]) => make("a", { href: `${folder}/${file}` }, text))));
}

const asNumber = (value) => String(Number(value.toPrecision(4)));

export function brokenCard(model, error) {
  const why = make("p", { class: "error" }, `${printable(error.message)}.`), others = hint("It is left out above; the others are not affected.");
  return make("div", { class: "card broken" }, make("h3", {}, isolated(model)), why, others);
}
