// Takes pictures: chosen, dropped anywhere on the page, or pasted; and decodes them, within limits that a hostile file does not pass.

import { button, make, printable } from "./elements.js";

const MAX_BYTES = 100e6, MAX_PIXELS = 50_000_000, MAX_SCANS = 32; // as examples/pictures.py has them, which says why
const PAUSE = 100; // ms between a camera's frames: the runtime works where the page does, which is to remain alive

// The picture in a file, upright, as a canvas draws it. Throws an Error with a sentence; a picture too large is not decoded.
export async function decoded(file) {
  const what = printable(file.name, 60), address = URL.createObjectURL(file);
  try {
    refuseAbove(MAX_BYTES, file.size, "bytes", what);
    const bytes = new Uint8Array(await file.arrayBuffer()), isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
    if (isJpeg && scansOf(bytes) > MAX_SCANS) throw new Error(`${what} is a JPEG of more than ${MAX_SCANS} scans: save it again`);
    refuseAbove(MAX_PIXELS, await numPixels(address, what), "pixels", what);
    // Colours as they are in the file, as predict.py reads them.
    return await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => { throw new Error(unread(what)); });
  } finally {
    URL.revokeObjectURL(address);
  }
}

function refuseAbove(most, count, unit, what) {
  const inDigits = (number) => number.toLocaleString("en");
  if (count > most) throw new Error(`${what} has ${inDigits(count)} ${unit}; at most ${inDigits(most)} are read: make it smaller`);
}

const unread = (what) => `${what} cannot be read as a picture here: save it as JPEG, PNG or WebP`;

// Each goes over all pixels, and a small file may repeat one a hundred thousand times. What is behind the picture's end, such as a film,
// does not count.
function scansOf(bytes) {
  let scans = 0, place = bytes.indexOf(0xff, 2);
  while (place !== -1 && place + 3 < bytes.length) {
    const mark = bytes[place + 1], isAlone = mark <= 0x01 || (mark >= 0xd0 && mark <= 0xd8); // no segment follows
    if (mark === 0xd9) break;
    if (mark === 0xda) scans += 1;
    const length = mark === 0xff ? 1 : isAlone ? 2 : 2 + 256 * bytes[place + 2] + bytes[place + 3];
    place = bytes.indexOf(0xff, place + length);
  }
  return scans;
}

// An image's size is known before its pixels are.
function numPixels(address, what) {
  return new Promise((hear, refuse) => {
    const image = new Image();
    image.onload = () => hear(image.naturalWidth * image.naturalHeight);
    image.onerror = () => refuse(new Error(unread(what)));
    image.src = address;
  });
}

const TAKERS = []; // { place, take }: an element, and what is called with the files that come there

// A button to choose files; those that are dropped or pasted at `place` are taken too. `take` is called with an array of files.
export function taker(place, text, attributes, take) {
  const input = make("input", { type: "file", accept: "image/*", ...attributes });
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  if (TAKERS.push({ place, take }) === 1) listen();
  return make("label", { class: "button" }, text, input);
}

// What is meant by a paste or a drop: where the focus is, or the pointer, or else the first on the page that is to be seen.
function meant(element) {
  const seen = TAKERS.filter(({ place }) => place.isConnected && place.checkVisibility());
  const order = (a, b) => (a.place.compareDocumentPosition(b.place) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1);
  return seen.find(({ place }) => place.contains(element)) ?? seen.find(({ place }) => place.matches(":hover")) ?? seen.sort(order)[0];
}

function listen() {
  let marked = null;
  const mark = (place) => {
    if (place === marked) return;
    marked?.classList.remove("dropping");
    (marked = place)?.classList.add("dropping");
  };
  const isOfFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("paste", (event) => {
    const { files, types } = event.clipboardData, isText = event.target.matches?.("textarea, input") && types.includes("text/plain");
    if (files.length === 0 || isText) return; // office programs add a picture to the text that is copied
    event.preventDefault();
    meant(document.activeElement)?.take([...event.clipboardData.files]);
  });
  document.addEventListener("dragover", (event) => {
    if (!isOfFiles(event)) return;
    event.preventDefault(); // else the browser would leave the page and show the file
    mark(meant(event.target)?.place ?? null);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(null);
  });
  document.addEventListener("drop", (event) => {
    mark(null);
    if (!isOfFiles(event)) return;
    event.preventDefault();
    meant(event.target)?.take([...event.dataTransfer.files]);
  });
}

// Buttons for a camera: `started` is called with a video to be shown, `seen` with frame after frame, `take` with a file of one to keep,
// `stopped` at the end, and `refuse` with a sentence where there is no camera. Where a page may not ask for one, `instead` makes a
// phone's own button.
export function camera({ started, seen, take, stopped, refuse }, instead) {
  if (!navigator.mediaDevices?.getUserMedia) return matchMedia("(pointer: coarse)").matches ? [instead()] : [];
  const video = make("video", { playsinline: "", "aria-label": "What the camera sees" });
  let stream = null;
  const frame = () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    return canvas;
  };
  const show = (isOn) => ([on.hidden, shot.hidden, off.hidden] = [isOn, !isOn, !isOn]);
  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    show(false);
    stopped();
  };
  const start = async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    } catch (error) {
      const isForbidden = error.name === "NotAllowedError";
      return refuse(isForbidden ? "The camera may not be used: allow it in the browser's settings." : "No camera was found.");
    }
    [video.srcObject, video.muted] = [stream, true];
    started(video);
    show(true);
    off.focus();
    await video.play().catch(() => {});
    while (stream) {
      if (!video.checkVisibility()) return stop(); // other pictures were chosen, or another tab
      if (video.videoWidth && !document.hidden) await seen(frame());
      await new Promise((after) => setTimeout(after, PAUSE));
    }
  };
  const on = button("Camera", start), off = button("Stop the camera", stop);
  const shot = button("Take the picture", async () => {
    if (video.videoWidth) take(new File([await frame().convertToBlob()], "from the camera"));
  }, { class: "main" });
  show(false);
  return [on, shot, off];
}
