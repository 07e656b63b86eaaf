// Reads the cells of a table as a model's columns say, as cells.py does in Python, which says what the keys of a column mean.

const BLANK = "[\\t\\n\\v\\f\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]"; // as trim() has it
const LARGEST = 3.4028234663852886e38; // of float32
const MAX_NUMBER = 1000, MAX_WORD = 1000; // characters; a longer word's accents would be put in order in time squared
const NO_TEXT = /\0|\p{Surrogate}/u; // halves of characters, which JSON can hold and UTF-8 cannot
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS_BEFORE = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const PARTS = {
  "%Y": "(?<Y>[0-9]{4})", "%y": "(?<y>[0-9]{2})", "%m": "(?<m>[0-9]{1,2})", "%d": "(?<d>[0-9]{1,2})", "%b": "(?<b>[A-Za-z]{3,9})",
  "%H": "(?<H>[0-9]{1,2})", "%M": "(?<M>[0-9]{2})", "%S": "(?<S>[0-9]{2})(?:\\.[0-9]+)?",
};

// A cell that is not what its column says; the message goes on from the cell: `expected a number`.
export class BadCell extends Error {}

function isMissing(cell, column) {
  const text = cell.trim();
  return text === "" || (column.missing ?? []).includes(text) || (column.type === "number" && text.toLowerCase() === "nan");
}

// From a cell to a number, [days since 1970, seconds of the day] of a date, or a word. What is missing is NaN, or "". Throws BadCell.
export function readerOf(column) {
  if (column.type === "number") {
    const pattern = patternOfNumbers(column);
    return (cell) => number(cell, column, pattern);
  }
  if (column.type === "date") {
    const patterns = column.formats.map(patternOfDates);
    return (cell) => date(cell, column, patterns);
  }
  const levels = column.ignore_case ? levelsBySpelling(column) : null;
  return (cell) => category(cell, column, levels);
}

// Of a column that ignores case: a level by itself, and by its small letters.
function levelsBySpelling({ levels }) {
  return new Map([...[...levels].reverse().map((level) => [level.toLowerCase(), level]), ...levels.map((level) => [level, level])]);
}

function category(cell, column, levels) {
  if (NO_TEXT.test(cell)) throw new BadCell("expected a text that UTF-8 can hold, without zero bytes");
  if (isMissing(cell, column)) return "";
  if (Array.from(cell.trim()).length > MAX_WORD) throw new BadCell(`expected a text of at most ${MAX_WORD} characters`);
  const text = cell.trim().normalize("NFC");
  return levels ? levels.get(text) ?? levels.get(text.toLowerCase()) ?? text : text;
}

function patternOfNumbers(column) {
  const decimal = escaped(column.decimal ?? "."), thousands = column.thousands ?? "";
  const between = thousands === " " ? BLANK : escaped(thousands);
  const whole = thousands ? `[0-9]{1,3}(?:${between}[0-9]{3})+|[0-9]+` : "[0-9]+";
  const unit = [...(column.units ?? [])].sort((a, b) => Array.from(b).length - Array.from(a).length).map(escaped).join("|");
  const [before, behind] = unit ? [`(?:(?:${unit})${BLANK}*)?`, `(?:${BLANK}*(?:${unit}))?`] : ["", ""];
  const digits = `(?=(?:${decimal})?[0-9])(?<whole>${whole})?(?:${decimal}(?<fraction>[0-9]*))?(?<exponent>[eE][+-]?[0-9]+)?`;
  const signed = `${before}(?:(?<sign>[+\\-\\u2212])${BLANK}*)?${before}${digits}(?<after>[\\-\\u2212])?${behind}`;
  return new RegExp(column.brackets ? `^(?:(?<open>\\()${BLANK}*)?${signed}(?:${BLANK}*(?<close>\\)))?$` : `^${signed}$`);
}

function number(cell, column, pattern) {
  if (isMissing(cell, column)) return NaN;
  const text = cell.trim(), part = Array.from(text).length <= MAX_NUMBER ? pattern.exec(text)?.groups : undefined;
  if (!part || !part.open !== !part.close || (part.after && (part.sign || part.open))) throw new BadCell("expected a number");
  const value = Number(`${(part.whole ?? "0").replace(/[^0-9]/g, "")}.${part.fraction || "0"}${part.exponent ?? ""}`);
  if (!(value <= LARGEST)) throw new BadCell("expected a number that float32 can hold");
  return part.sign === "-" || part.sign === "\u2212" || part.after || part.open ? -value : value;
}

function patternOfDates(text) {
  return new RegExp(`^${text.match(/%.|[^%]+|%$/gs).map((piece) => PARTS[piece] ?? escaped(piece)).join("")}$`);
}

function date(cell, column, patterns) {
  if (isMissing(cell, column)) return [NaN, NaN];
  for (const pattern of patterns) {
    const found = pattern.exec(cell.trim()), value = found && asDayAndSecond(found.groups);
    if (value) return value;
  }
  throw new BadCell(`expected a date like ${column.formats.join(" or ")}`);
}

// null where the calendar has no such day, or the day no such second. Years of two digits are of 1969 to 2068, as POSIX has it.
function asDayAndSecond(part) {
  const year = part.Y !== undefined ? Number(part.Y) : Number(part.y) + (Number(part.y) >= 69 ? 1900 : 2000);
  const month = part.b !== undefined ? MONTHS.indexOf(part.b.slice(0, 3).toLowerCase()) + 1 : Number(part.m);
  const [day, hour, minute, second] = ["d", "H", "M", "S"].map((key) => Number(part[key] ?? 0));
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (!(month >= 1 && month <= 12 && year >= 1 && hour < 24 && minute < 60 && second < 60)) return null;
  if (!(day >= 1 && day <= (month === 2 && isLeap ? 29 : LENGTHS[month - 1]))) return null;
  const before = year - 1, leaps = Math.floor(before / 4) - Math.floor(before / 100) + Math.floor(before / 400);
  return [before * 365 + leaps + DAYS_BEFORE[month - 1] + (month > 2 && isLeap ? 1 : 0) + day - 719163, 3600 * hour + 60 * minute + second];
}

// The cell that says what a value of JSON does; cells.py has the rules.
export function cellOf(value, column) {
  const kind = column.type, levels = column.levels ?? [];
  if (value === null || value === undefined || typeof value === "string") return value ?? "";
  if (typeof value === "boolean" && kind === "category") {
    const same = levels.filter((level) => level.toLowerCase() === String(value));
    if (same.length !== 1) throw new BadCell(`expected a text: ${same.length ? "more than one" : "no"} level is spelled so`);
    return same[0];
  }
  if (typeof value === "number" && kind !== "date") {
    if (!(Math.abs(value) <= LARGEST)) throw new BadCell("expected a number that float32 can hold");
    if (kind === "category") {
      const size = Math.abs(value);
      if (size > Number.MAX_SAFE_INTEGER || (size > 0 && size < 1e-4)) {
        throw new BadCell("expected a text: a number so large or so small can be spelled in several ways");
      }
      return String(value);
    }
    const words = (column.missing ?? []).filter((word) => /^-?[0-9]+(\.[0-9]+)?$/.test(word));
    return words.some((word) => Number(word) === value) ? "" : String(value).replace(".", column.decimal ?? ".");
  }
  throw new BadCell({ number: "expected a number", date: "expected a date as a text" }[kind] ?? "expected a text");
}

// Whether a date gives two numbers: the day, and the second of the day.
export const hasTime = (column) => column.type === "date" && column.formats.some((format) => format.includes("%H"));

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
