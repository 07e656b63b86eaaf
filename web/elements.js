// Elements of the page, and texts of strangers in them: names of classes, models' uses, what was typed.

// An element, its attributes and what is in it. Texts become text, never HTML.
export function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

const MAX_NAME = 80, MAX_TEXT = 600; // characters shown
// Controls, line ends and signs that turn the direction of what comes after them; the two that join letters are a part of words.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/gu, JOINERS = "\u200c\u200d";

// What can be shown of a text: what is not printable as its code, and at most so many characters.
export function printable(text, most = MAX_TEXT) {
  const start = Array.from(String(text).slice(0, 2 * most + 2)), isCut = start.length > most;
  const shown = start.slice(0, most).map((sign) => sign.replace(UNSEEN, code)).join("");
  return isCut ? `${shown}…` : shown;
}

function code(sign) {
  if (JOINERS.includes(sign)) return sign;
  const number = sign.codePointAt(0).toString(16);
  return number.length > 4 ? `\\u{${number}}` : `\\u${number.padStart(4, "0")}`;
}

// A stranger's text by itself: one that is written from right to left does not move what stands beside it.
export function isolated(text, most = MAX_NAME) {
  const shown = printable(text, most) || "(no name)";
  return make("bdi", shown === String(text) ? {} : { title: printable(text) }, shown);
}

// Identifiers as words: sign_digits is "sign digits".
export const asWords = (identifier) => identifier.replaceAll("_", " ");

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export function inBytes(number) {
  const [size, unit] = number < 1e6 ? [number / 1e3, "kB"] : [number / 1e6, "MB"];
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
}

export const hint = (...content) => make("p", { class: "hint" }, ...content);

export function button(text, pressed, attributes = {}) {
  const element = make("button", { type: "button", ...attributes }, text);
  element.addEventListener("click", pressed);
  return element;
}

// Calls that come while one is at work are one call after it, so that the last is answered last; before the first of them it waits.
export function oneAtATime(work, milliseconds = 0) {
  let [isAtWork, isWanted] = [false, false];
  return async () => {
    isWanted = true;
    if (isAtWork) return;
    isAtWork = true;
    if (milliseconds) await new Promise((after) => setTimeout(after, milliseconds));
    await new Promise(requestAnimationFrame); // strokes and letters are shown first
    try {
      while (isWanted) {
        isWanted = false;
        await work();
        await new Promise(requestAnimationFrame);
      }
    } finally {
      isAtWork = false;
    }
  };
}

// Calls `begin` once, when an element comes into sight.
export function whenSeen(element, begin) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    begin();
  });
  observer.observe(element);
}
