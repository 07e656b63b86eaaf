// Reads the rows of a table's file or of JSON as a model's signature says, as rows.py does in Python, which says more.

import { BadCell, cellOf, hasTime, readerOf } from "./cells.mjs";

const BOMS = [["utf-8", [0xef, 0xbb, 0xbf]], ["utf-32", [0xff, 0xfe, 0, 0]], ["utf-32", [0, 0, 0xfe, 0xff]], ["utf-16le", [0xff, 0xfe]], ["utf-16be", [0xfe, 0xff]]];
// By the names that browsers have for them; they have none for utf-32.
const DECODERS = { "latin-1": "windows-1252", cp1252: "windows-1252", cp1250: "windows-1250", cp1251: "windows-1251", cp932: "shift_jis", "mac-roman": "macintosh", "utf-16": "utf-16le" };
const OTHERS = ["utf-8", "utf-32", "gb18030", "big5", "euc-kr"];
// Of the bytes 0x80 to 0x9f: node takes windows-1252 for latin-1. Five of them are nothing.
const WINDOWS = Array.from("€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ");
const SEPARATOR_LINE = /^"?[sS][eE][pP]=[^"\r\n]"?(?=[\r\n]|$)/u; // which Excel writes above the header; counts as a blank line
const SHOWN = 10; // names in a sentence

// The text of a file's bytes; a byte order mark at its start goes before what the signature says.
export function decoded(bytes, { encoding }, what) {
  const found = BOMS.find(([, mark]) => mark.every((byte, place) => bytes[place] === byte))?.[0] ?? DECODERS[encoding] ?? encoding;
  const refuse = () => {
    throw new Error(`${what} is not text in ${encoding}: save it in UTF-8`);
  };
  try {
    const text = new TextDecoder(found, { fatal: true }).decode(bytes);
    return found === "windows-1252" ? text.replace(/[\x80-\x9f]/g, (sign) => WINDOWS[sign.charCodeAt(0) - 0x80].trim() || refuse()) : text;
  } catch {
    return refuse();
  }
}

// [number of the line that it begins on, from 1, and cells] of every row of a text, blank ones left out (RFC 4180).
export function* rowsOf(text, { separator }, what) {
  let place = text.match(SEPARATOR_LINE)?.[0].length ?? 0, line = 1;
  const isEnd = (sign) => sign === "\n" || sign === "\r" || sign === undefined;
  if (text.includes("\0")) throw new Error(`${what} has a zero byte: this is not text, or in another encoding`);
  while (place < text.length) {
    const row = [], start = line, refuse = (why) => {
      throw new Error(`${what} line ${start}: a quoted cell begins there and does not end as one (${why}): close the quote, and double those inside; what follows is not read`);
    };
    for (let isLast = false; !isLast; ) {
      const from = place;
      if (text[place] === '"') {
        for (place += 1; text[place] !== '"' || text[place + 1] === '"'; place += text[place] === '"' ? 2 : 1) {
          if (place >= text.length) refuse("unexpected end of data");
          if (text[place] === "\n" || (text[place] === "\r" && text[place + 1] !== "\n")) line += 1;
        }
        row.push(text.slice(from + 1, place).replaceAll('""', '"'));
        place += 1;
        if (text[place] !== separator && !isEnd(text[place])) refuse(`'${separator}' expected after '"'`);
      } else {
        while (text[place] !== separator && !isEnd(text[place])) place += 1;
        row.push(text.slice(from, place));
      }
      isLast = text[place] !== separator;
      if (!isLast) place += 1;
    }
    if (place < text.length) {
      place += text[place] === "\r" && text[place + 1] === "\n" ? 2 : 1;
      line += 1;
    }
    if (row.length > 1 || row[0].trim() !== "") yield [start, row];
  }
}

// Whether a file can be read as a signature's format says, by the rules of check_format in rows.py. May throw.
export function isFormat({ encoding, separator, header, names }) {
  const isSign = typeof separator === "string" && separator.length === 1 && !/[\p{L}\p{N}"\r\n]/u.test(separator);
  const areNames = (names ?? []).every((name) => typeof name === "string");
  return (Object.hasOwn(DECODERS, encoding) || OTHERS.includes(encoding)) && isSign && typeof header === "boolean" && areNames;
}

// Reads what a signature asks for. A row becomes { name, numbers, words, note }, or an Error that says why it is none.
export class Reader {
  constructor(signature) {
    this.format = signature.format;
    const numbers = signature.features.map(({ name }) => name).filter((name) => signature.columns[name]);
    this.columns = new Map([...numbers, ...signature.categories].map((name) => [name, signature.columns[name]]));
    this.levels = new Map(signature.categories.map((name) => [name, new Set(signature.columns[name].levels)]));
    this.read = new Map(Array.from(this.columns, ([name, column]) => [name, readerOf(column)]));
  }

  // The rows of a file's bytes; `hear` is told once what is ignored in it. Throws an Error for the whole of it.
  *file(bytes, what, hear) {
    const form = this.format, wanted = [...this.columns.keys()];
    if (/\.(xlsx|xls|xlsm|ods|numbers)$/i.test(what)) throw new Error(`${what} is a workbook, which this does not read: save the sheet as CSV`);
    if ([..."PAR1"].every((sign, place) => bytes[place] === sign.charCodeAt(0))) throw new Error(`${what} is a Parquet file, which this does not read: save it as CSV`);
    const rows = rowsOf(decoded(bytes, form, what), form, what), { value: first } = rows.next();
    if (!first) throw new Error(`${what} is empty`);
    const given = form.names ?? (form.header ? first[1] : first[1].map(() => ""));
    const names = given.map((name, place) => name.trim() || `column ${place + 1}`);
    if (form.header && first[1].some((cell, place) => names.includes(cell.trim()) && place < names.length && names[place] !== cell.trim())) {
      throw new Error(`${what} has its columns in another order than the model's own table, where names go by place: ${listed(names)}`);
    }
    const missing = wanted.filter((name) => !names.includes(name)), twice = wanted.filter((name) => names.indexOf(name) !== names.lastIndexOf(name));
    const hint = `read as ${form.encoding} with '${form.separator}' between cells, as the model's own table`;
    if (missing.length) throw new Error(`${what} has no column ${listed(missing)}; it has ${listed(names)}: ${hint}; keep a column of which nothing is known, its cells empty`);
    if (twice.length) throw new Error(`${what} has two columns ${listed(twice)}`);
    const places = wanted.map((name) => names.indexOf(name)), width = first[1].length;
    if (width > names.length || Math.max(...places) >= width) throw new Error(`${what} has ${width} columns, expected ${names.length}: ${listed(names)}`);
    const others = names.slice(0, width).filter((_, place) => !places.includes(place));
    if (others.length) hear(`${what}: not taken by the model and ignored: ${listed(others)}`);
    const row = ([line, cells]) => {
      const name = `${what} line ${line}`;
      if (cells.length !== width) return new Error(`${name} has ${cells.length} cell${cells.length === 1 ? "" : "s"}, expected ${width}`);
      return this.taken(name, places.map((place) => cells[place]));
    };
    if (!form.header) yield row(first);
    for (const one of rows) yield row(one);
  }

  // Of the model's own cells.
  taken(what, own) {
    const numbers = [], words = [], notes = [];
    let place = 0;
    for (const [name, column] of this.columns) {
      const cell = own[place++];
      try {
        const value = this.read.get(name)(cell);
        if (column.type === "category") {
          words.push(value);
          if (value !== "" && !this.levels.get(name).has(value)) notes.push(`${name} ${shown(cell)} is not known and counts as other`);
        } else {
          numbers.push(...(column.type === "date" ? value.slice(0, hasTime(column) ? 2 : 1) : [value]));
        }
      } catch (error) {
        if (!(error instanceof BadCell)) throw error;
        return new Error(`${what}: ${name} is ${shown(cell)}: ${error.message}, or an empty cell where it is missing`);
      }
    }
    return { name: what, numbers, words, note: notes.join("; ") };
  }

  // Of a row as JSON has it, by name; null is missing.
  values(what, given, hear) {
    const missing = [...this.columns.keys()].filter((name) => !Object.hasOwn(given, name));
    if (missing.length) return new Error(`${what} has no ${listed(missing)}: leave it empty (null in JSON) where it is missing`);
    const others = Object.keys(given).filter((name) => !this.columns.has(name)), own = [];
    if (others.length) hear(`${what}: not taken by the model and ignored: ${listed(others)}`);
    for (const [name, column] of this.columns) {
      try {
        own.push(cellOf(given[name], column));
      } catch (error) {
        if (!(error instanceof BadCell)) throw error;
        return new Error(`${what}: ${name} is ${shown(given[name])}: ${error.message}, or null where it is missing`);
      }
    }
    return this.taken(what, own);
  }

  // Of one row, written as JSON or as name=value,name2=value2.
  text(text, hear) {
    if (!text.trimStart().startsWith("{")) {
      const given = this.pairs(text), known = [...this.columns.keys()].slice(0, 3).map((name) => `${name}=...`).join(",");
      if (Object.keys(given).length) return this.values(text, given, hear);
      return new Error(`${text} is neither a file that is here nor a row: ${known}${this.columns.size > 3 ? ",..." : ""}`);
    }
    try {
      return this.values(text, JSON.parse(text), hear);
    } catch (error) {
      return new Error(`${text} is no row in JSON (${error.message})`);
    }
  }

  // Commas may stand in names that the model knows, and in values before what is no name=.
  pairs(text) {
    const known = [...this.columns.keys()].sort((a, b) => b.length - a.length).map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    const found = [...text.matchAll(new RegExp(`(?:^|,)(?:\\s*(${known.join("|")})\\s*|([^,=]+))=`, "g"))];
    return Object.fromEntries(found.map((one, place) => [one[1] ?? one[2].trim(), text.slice(one.index + one[0].length, found[place + 1]?.index ?? text.length)]));
  }
}

// A batch of rows as the network takes it, by name; `Tensor` is that of onnxruntime.
export function asFeeds(rows, signature, Tensor) {
  return Object.fromEntries(signature.inputs.map(({ name, dtype, shape }) => {
    const values = rows.flatMap((row) => (dtype === "string" ? row.words : row.numbers));
    return [name, new Tensor(dtype, values, [rows.length, shape[1]])];
  }));
}

const listed = (names) => names.slice(0, SHOWN).join(", ") + (names.length > SHOWN ? ` and ${names.length - SHOWN} others` : "");
const shown = (value) => (JSON.stringify(value) ?? String(value)).slice(0, 100);
