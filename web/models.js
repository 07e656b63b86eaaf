// An exported model on the page: its signature, which is checked before anything of it is used, and its session, which is loaded when it is
// first asked. A stranger's model, or a damaged one, costs itself and nothing else: it ends in an Error with one sentence. What is asked of
// a signature is what examples/predict.py asks (tests/web/test_signatures.py), and what the page shows besides.

import { check, open, ort } from "./predict.mjs";
import { Reader, isFormat } from "./rows.mjs";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/; // of models and datasets, which are ids and folders here
const MAX_SIDE = 4096, MAX_CLASSES = 10_000, MAX_LENGTH = 20_000;
const TASKS = ["binary", "multiclass", "multilabel", "sequence", "regression"];

const isText = (value) => typeof value === "string";
const areTexts = (values) => Array.isArray(values) && values.every(isText);
const isSize = (value) => Number.isInteger(value) && value >= 1 && value <= MAX_SIDE;

// Whether what the page makes of an input is what the network takes. Each may throw.
const KINDS = {
  image: ({ input: { shape }, resize, ink }) => {
    const sizes = [...shape.slice(1), ...(resize === null ? [] : [resize.shorter_side]), ...(ink === null ? [] : [ink.longer_side])];
    const fits = ink === null || ink.longer_side <= Math.min(shape[1], shape[2]);
    return shape.length === 4 && [1, 3].includes(shape[3]) && sizes.every(isSize) && fits;
  },
  features: ({ input, features }) => {
    const names = features.map(({ name }) => name);
    return names.length === input.shape[1] && areTexts(names) && new Set(names).size === names.length;
  },
  characters: ({ alphabet }) => alphabet === null || (isText(alphabet) && alphabet !== ""),
  text: ({ input, max_length: most }) => input.dtype === "int64" && Number.isInteger(most) && most >= 1 && most <= MAX_LENGTH,
  table: (signature) => {
    const { categories, columns, inputs, features } = signature;
    const widths = [features.length, categories.length].filter((width) => width > 0);
    if (String(inputs.map(({ shape }) => shape[1])) !== String(widths)) return false;
    return isFormat(signature.format) && new Reader(signature) && areTexts(categories) && categories.every((one) => areTexts(columns[one].levels));
  },
};

// As far as it is used. May throw.
function isSound(signature, name) {
  const { model, dataset, source, use, limits, task, kind, input, outputs, metrics, golden } = signature;
  const meanings = task === "regression" ? signature.numbers : signature.classes;
  return model === name && NAME.test(name) && NAME.test(dataset) && areTexts([source, use, limits, input.name]) && TASKS.includes(task)
    && areTexts(meanings) && meanings.length >= 1 && meanings.length <= MAX_CLASSES && outputs[0].shape.at(-1) === meanings.length
    && outputs.length === (task === "regression" ? 1 : 2) && outputs.every((output) => isText(output.name))
    && metrics instanceof Object && golden.outputs instanceof Object && isText(kind) && Object.hasOwn(KINDS, kind) && KINDS[kind](signature);
}

export async function signatureOf(name) {
  const path = `models/${name}/signature.json`;
  let signature;
  try {
    signature = await (await fetch(path)).json();
  } catch (error) {
    throw new Error(`${path} cannot be read (${error.message})`);
  }
  try {
    if (isSound(signature, name)) return signature;
  } catch {
    // as one that is not
  }
  throw new Error(`${path} is damaged, or of a later version than this page`);
}

class NotFetched extends Error {}

// A file's bytes; `hear` is told how many of how many are there (of 0 where the server does not say).
async function download(path, hear) {
  try {
    const response = await fetch(path);
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    const total = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length"));
    const pieces = [], reader = response.body.getReader();
    for (let count = 0, next = await reader.read(); !next.done; next = await reader.read()) {
      pieces.push(next.value);
      hear((count += next.value.length), total);
    }
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  } catch (error) {
    throw new NotFetched(`${path} cannot be fetched (${error.message})`);
  }
}

export class Model extends EventTarget {
  // `files` are the names of those that came with it.
  constructor(signature, files) {
    super();
    Object.assign(this, { signature, files, name: signature.model, folder: `models/${signature.model}`, isLoaded: false });
  }

  get isOwn() {
    return this.signature.source === "own";
  }

  // A runtime that does not give the golden outputs is not used. What was not fetched is fetched again when it is next asked.
  session() {
    this.loading ??= this.load().catch((error) => {
      if (error instanceof NotFetched) this.loading = undefined;
      throw error;
    });
    return this.loading;
  }

  async load() {
    const bytes = await download(`${this.folder}/model.onnx`, (count, total) => {
      [this.count, this.total] = [count, total];
      this.dispatchEvent(new Event("progress"));
    });
    const session = await open(bytes, "model.onnx"), { signature } = this;
    const [inputs, outputs] = [signature.inputs ?? [signature.input], signature.outputs].map((all) => all.map(({ name }) => name));
    if (String(session.inputNames) !== String(inputs) || !outputs.every((one) => session.outputNames.includes(one))) {
      throw new Error("signature.json and model.onnx are of two models");
    }
    await check(session, signature);
    this.isLoaded = true;
    return session;
  }

  // What it makes of an input, which is one tensor, or several by name.
  async answer(input) {
    const session = await this.session(), feeds = input instanceof ort.Tensor ? { [this.signature.input.name]: input } : input;
    const run = () => session.run(feeds);
    const outputs = await (Model.queue = Model.queue.then(run, run)).catch((error) => { // the runtime takes one call at a time
      throw new Error(`it cannot answer (${String(error?.message ?? error).split("\n")[0]})`);
    });
    return answerOf(outputs, this.signature);
  }
}
Model.queue = Promise.resolve();

// Of one item: `classes` with their shares, the most probable first (each by itself where there may be several, `isSet` those there are),
// or `numbers` by name, or the `text` of a sequence.
function answerOf(outputs, { task, outputs: named, ...signature }) {
  const [values, labels] = named.map(({ name }) => Array.from(outputs[name].data, Number));
  const meanings = task === "regression" ? signature.numbers : signature.classes;
  if (values.length !== meanings.length && (task !== "sequence" || values.length !== labels.length * meanings.length)) {
    throw new Error("it gives other outputs than its signature says");
  }
  if (task === "regression") return { numbers: meanings.map((name, place) => ({ name, value: values[place] })) };
  if (task === "sequence") return { text: labels.map((label) => meanings[label] ?? "").join("") };
  if (!values.every(Number.isFinite)) throw new Error("its probabilities are not numbers for this input");
  const isSet = task === "multilabel" ? (place) => labels[place] === 1 : (place) => labels[0] === place;
  const classes = meanings.map((name, place) => ({ name, share: values[place], isSet: isSet(place) }));
  return { classes: classes.sort((a, b) => b.share - a.share), mayBeSeveral: task === "multilabel" };
}
