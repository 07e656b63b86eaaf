// Asks an exported model from JavaScript, with onnxruntime-web alone: in Node as here, or in a page (there `fetch` the two files).
//
//     npm install onnxruntime-web
//     node predict.mjs EXPORTED INPUT [INPUT ...]
//
// EXPORTED is a folder with model.onnx and signature.json, as `dvc get` brings it. An INPUT is a row of numbers separated by commas (an
// empty cell is missing) or a text (or @NAME.txt, a file of which each line is a text); of a table with words, which needs rows.mjs and
// cells.mjs beside this file, the path of a file like the one that the model was made from, or a row as name=value,name2=value2 or as JSON;
// pictures need a canvas, or a package that decodes them. An input that does not fit ends in a sentence, the others are answered, and the
// exit code is 1.

import * as ort from "onnxruntime-web";

export { ort };
ort.env.logLevel = "error";
const MAX_LENGTH = 1000; // characters of a text: a recurrent network takes as long as its longest
const PIECE = 1000, MOST_JOINED = 4; // characters that are put in NFC together, and that one of NFC is made of at most
const BLANK = /^[\s\p{Cc}\ufeff]*$/u;
const MAX_BYTES = 1 << 29; // of a file, unpacked
const ARRAYS = { uint8: Uint8Array, float32: Float32Array, int64: BigInt64Array };

// An array of signature.json: numbers in C order, little-endian, as base64 of their bytes; texts as they are.
export function asTensor({ dtype, shape, base64, values }) {
  if (values) return new ort.Tensor(dtype, values, shape);
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new ort.Tensor(dtype, new ARRAYS[dtype](bytes.buffer), shape);
}

// The golden input must give the golden outputs, or this runtime computes something else.
export async function check(session, signature) {
  const golden = signature.golden, inputs = golden.inputs ?? { [signature.input.name]: golden.input };
  const outputs = await session.run(Object.fromEntries(Object.entries(inputs).map(([name, array]) => [name, asTensor(array)])));
  for (const [name, expected] of Object.entries(golden.outputs)) {
    const values = asTensor(expected).data;
    const worst = values.reduce((most, value, place) => Math.max(most, Math.abs(Number(value) - Number(outputs[name].data[place])) / Math.max(Math.abs(Number(value)), 1)), 0);
    if (!(worst <= 1e-4)) throw new Error(`${name} of the golden input differs by ${worst}`);
  }
}

// A session of a model: its address in a page, its bytes in Node.
export async function open(model, name) {
  try {
    return await ort.InferenceSession.create(model);
  } catch (error) {
    throw new Error(`${name} is damaged, cut short, or no ONNX model: fetch it again (${error.message.split("\n")[0]})`);
  }
}

export function asInput(text, signature) {
  if (signature.kind === "features") {
    const cells = text.split(",");
    if (cells.length !== signature.features.length) {
      throw new Error(`${text} has ${cells.length} numbers; expected ${signature.features.map(({ name }) => name).join(", ")}`);
    }
    const values = cells.map((cell) => (cell.trim() === "" ? NaN : asNumber(cell)));
    return new ort.Tensor("float32", values, [1, cells.length]);
  }
  if (signature.kind === "characters") {
    if (text.trim() === "") throw new Error("the text is empty");
    const folded = fold(text);
    if (folded === "") throw new Error(`${JSON.stringify(text)} is unknown to the model: no character of it can be written in ASCII, and the model knows no other`);
    if (folded.length > MAX_LENGTH) throw new Error(`a text has ${folded.length} characters; ${MAX_LENGTH} are read at most`);
    if (/[\x00-\x1f\x7f]/.test(folded)) throw new Error(`${JSON.stringify(text)} has a control character`);
    const strange = Array.from(folded).filter((character) => !(signature.alphabet ?? folded).includes(character));
    if (strange.length) throw new Error(`${text} has ${strange.join("")}; the model knows only ${signature.alphabet}`);
    return new ort.Tensor("int64", Array.from(folded, (character) => BigInt(character.charCodeAt(0))), [1, folded.length]);
  }
  if (signature.kind === "text") {
    const points = asCodePoints(text, signature.max_length);
    if (points.length === 0) throw new Error(`there is nothing to be read in ${JSON.stringify(text.slice(0, 20))}`);
    return new ort.Tensor("int64", points, [1, points.length]);
  }
  throw new Error("pictures need a canvas: see web/pictures.js");
}

// The first `most` code points of a text of any script in NFC, as examples/texts.py has them; none where there is nothing to be read.
export function asCodePoints(text, most) {
  const read = firstOf(text, MOST_JOINED * most), pieces = [];
  for (let start = 0; start < read.length; start += PIECE) pieces.push(read.slice(start, start + PIECE).join("").normalize("NFC"));
  const kept = firstOf(pieces.join(""), most).map((one) => (one === "\0" ? " " : one.replace(/^[\ud800-\udfff]$/u, "\ufffd")));
  return BLANK.test(kept.join("")) ? [] : kept.map((one) => BigInt(one.codePointAt(0)));
}

// At most so many characters of a text, however long it is: code points, and not the halves of which JavaScript's texts are made.
function firstOf(text, most) {
  const found = [];
  for (const one of text) {
    if (found.length === most) break;
    found.push(one);
  }
  return found;
}

// What was done to a text before the model reads it, empty where nothing was.
export function noteOn(text, signature) {
  if (signature.kind === "text") {
    const most = signature.max_length, isCut = firstOf(text, most + 1).length > most && asCodePoints(text, most).length === most;
    return isCut ? `cut to its first ${most.toLocaleString("en")} characters` : "";
  }
  if (signature.kind !== "characters" || fold(text) === text) return "";
  const lost = Array.from(new Set(text)).filter((one) => !/\p{M}/u.test(one) && !/[\x00-\x7f]/.test(one.normalize("NFKD"))).join("");
  return `read as ${fold(text)}${lost ? `, without ${lost}` : ""}`;
}

// Other alphabets' letters as ASCII, where they can be; one at a time, since a long text's accents would be sorted in time squared.
export function fold(text) {
  return Array.from(text, (one) => one.normalize("NFKD")).join("").replace(/[^\x00-\x7f]/g, "").trim();
}

function asNumber(cell) {
  const value = /^\s*[+-]?(\d|\.\d)[\d.e+-]*\s*$/i.test(cell) ? Number(cell) : NaN; // 0x10 is one to Number()
  if (!Number.isFinite(Math.fround(value))) throw new Error(`${cell} is not a finite number; leave the cell empty where a value is missing`);
  return value;
}

export function inWords(outputs, signature) {
  const [first, labels] = signature.outputs.map(({ name }) => Array.from(outputs[name].data, Number));
  if (signature.task === "regression") return first.map((value, place) => `${signature.numbers[place]} ${value.toPrecision(4)}`).join(", ");
  if (signature.task === "sequence") return labels.map((label) => signature.classes[label]).join("");
  if (signature.task === "multilabel") return signature.classes.filter((_, place) => labels[place] === 1).join(", ") || "none";
  return `${signature.classes[labels[0]]} ${(100 * first[labels[0]]).toFixed(1)}%`;
}

// What is not printable as its code, as predict.py shows it: names of classes and cells of files could otherwise clear a terminal.
function clean(line) {
  return line.replace(/[\p{C}\p{Z}]/gu, (sign) => {
    const code = sign.codePointAt(0), hex = code.toString(16);
    if (sign === " ") return sign;
    if (code < 0x100) return { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[sign] ?? `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
}

async function main([folder, ...texts]) {
  if (!folder) throw new Error("name the folder with model.onnx and signature.json, and inputs: node predict.mjs EXPORTED INPUT [INPUT ...]");
  const signature = await read(`${folder}/signature.json`, (content) => JSON.parse(content));
  const session = await open(await read(`${folder}/model.onnx`), `${folder}/model.onnx`);
  if (!signature?.golden || !signature.input?.name) throw new Error(`${folder}/signature.json is damaged, or of a later version than this script`);
  if (!session.inputNames.includes(signature.input.name)) throw new Error(`signature.json and model.onnx in ${folder} are of two models`);
  await check(session, signature).catch((error) => {
    throw new Error(`${folder}: ${error.message}: its two files are of two models, or this runtime computes something else`);
  });
  if (texts.length === 0) console.log(clean(`${folder}/model.onnx gives its golden outputs.`));
  const inputsOf = signature.kind === "table" ? await rowsIn(signature) : inputIn;
  for (const text of texts) {
    try {
      for await (const item of inputsOf(text, signature)) {
        if (item instanceof Error) refuse(item);
        else console.log(clean(`${item.name}: ${inWords(await session.run(item.feeds), signature)}${item.note ? ` [${item.note}]` : ""}`));
      }
    } catch (error) {
      refuse(error);
    }
  }
}

// Those of a file that are not blank.
function linesOf(content, path) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content).split(/\r\n|[\n\r]/).filter((line) => line.trim() !== "");
  } catch {
    throw new Error(`${path} is not text in UTF-8: save it so`);
  }
}

function refuse(error) {
  console.error(clean(`error: ${error.message}`));
  process.exitCode = 1;
}

async function* inputIn(text, signature) {
  const isFile = ["text", "characters"].includes(signature.kind) && /^@.*\.txt$/is.test(text), file = text.slice(1);
  for (const one of isFile ? await read(file, (content) => linesOf(content, file)) : [text]) {
    try {
      yield { name: one, feeds: { [signature.input.name]: asInput(one, signature) }, note: noteOn(one, signature) };
    } catch (error) {
      yield error; // the other lines are answered all the same
    }
  }
}

// A function from an argument to its rows.
async function rowsIn(signature) {
  const { Reader, asFeeds } = await import("./rows.mjs");
  const { existsSync, statSync } = await import("node:fs"), { gunzipSync } = await import("node:zlib");
  const reader = new Reader(signature), tell = (line) => console.error(clean(`note: ${line}.`));
  async function* items(text) {
    if (!existsSync(text)) return yield reader.text(text, tell);
    if (!statSync(text).isFile()) throw new Error(`${text} is not a plain file: save what it gives in one`);
    yield* reader.file(await read(text, (content) => (/\.gz$/i.test(text) ? gunzipSync(content, { maxOutputLength: MAX_BYTES }) : content)), text, tell);
  }
  return async function* (text) {
    for await (const item of items(text)) yield item instanceof Error ? item : { ...item, feeds: asFeeds([item], signature, ort.Tensor) };
  };
}

async function read(path, parse = (content) => content) {
  const { readFileSync } = await import("node:fs");
  try {
    return parse(readFileSync(path));
  } catch (error) {
    throw new Error(`${path} cannot be read (${error.message})`);
  }
}

if (typeof process !== "undefined" && process.argv[1]?.endsWith("predict.mjs")) {
  process.stdout.on("error", (error) => {
    console.error(`error: the answers cannot be written (${error.code})`);
    process.exit(1);
  });
  main(process.argv.slice(2)).catch((error) => {
    console.error(clean(`error: ${error.message}`));
    process.exit(1);
  });
}
