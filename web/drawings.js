// The panel of models that read handwriting: a pad to draw on, or a picture of a drawing; and networks that find its middle.

import { ort } from "./predict.mjs";
import { Answers, askAll } from "./answers.js";
import { button, hint, make, oneAtATime } from "./elements.js";
import { Pad } from "./pad.js";
import { cutOutDrawing, lightOnDark, onPaper } from "./pictures.js";
import { decoded, taker } from "./taking.js";

const KEYS = "With the keyboard: the arrows move the pen, space puts it down or lifts it, Delete clears.";
const HINT = "By mouse, finger or keyboard (arrows move the pen, space puts it down); or drop or paste a picture there.";
const FOUND = "The red cross is where a network finds the middle of the drawing; it knows those of two thirds of the pad, near its middle.";

// `finders` say where on the pad a drawing is, as it was drawn; the others read it, cut out and centred.
export function drawings(models, finders) {
  const [{ signature: first }] = models, [, height, width] = first.input.shape;
  const answers = new Answers([...models, ...finders], () => ask(), "Waiting for a drawing");
  const canvas = make("canvas", { class: "pad", width: 280, height: 280, tabindex: 0, role: "img", "aria-label": `Drawing pad. ${KEYS}` });
  const seen = make("canvas", { class: "seen", width, height, role: "img", "aria-label": "The drawing as the networks see it" });
  let photo = null; // that was put on the pad, and not drawn over

  const ask = oneAtATime(async () => {
    const cuts = new Map(); // by size: most models take the same
    for (const { signature } of pad.isEmpty ? [] : models) {
      const size = sizeOf(signature);
      if (!cuts.has(size)) cuts.set(size, cutOut(photo ?? pad.layer, signature));
    }
    showSeen(seen, cuts.get(sizeOf(first)));
    if (pad.isEmpty) return answers.idle();
    if ([...cuts.values()].includes(null)) return answers.refuse("There is no drawing to be seen.");
    answers.isBusy = true;
    const pixelsOf = ({ ink, input }) => (ink ? cuts.get(sizeOf({ ink, input })) : lightOnDark(pad.layer, input.shape[2], input.shape[1]));
    const inputOf = ({ signature }) => asTensor(pixelsOf(signature), signature.input);
    const results = await askAll(answers.chosen, inputOf, (some) => answers.show(some));
    for (const finder of finders) {
      const [row, column] = results.get(finder)?.answer?.numbers ?? [], [, rows, columns] = finder.signature.input.shape;
      if (row) pad.mark((column.value + 0.5) / columns, (row.value + 0.5) / rows);
    }
  });
  const pad = new Pad(canvas, () => {
    photo = null;
    answers.isBusy = true;
    ask();
  });
  const take = async ([file]) => {
    answers.isBusy = true;
    try {
      const picture = await decoded(file), paper = onPaper(picture);
      picture.close();
      pad.put(paper);
      photo = paper; // larger than the pad
      ask();
    } catch (error) {
      answers.refuse(`${error.message}.`);
    }
  };

  const panel = make("div", { class: "stage drawing" }), choose = taker(panel, "Picture of a drawing", { capture: "environment" }, take);
  const tools = make("div", { class: "tools" }, button("Clear", () => pad.clear(), { class: "clear" }), choose);
  const seeing = make("p", { class: "hint seeing" }, seen, "What the networks see."), about = hint(finders.length ? `${HINT} ${FOUND}` : HINT);
  panel.append(make("div", {}, canvas, tools), answers.element, make("div", { class: "below" }, seeing, about));
  showSeen(seen, null);
  return panel;
}

const sizeOf = ({ input, ink }) => String([input.shape[2], input.shape[1], ink.longer_side]);

function cutOut(paper, { input, ink }) {
  return cutOutDrawing(paper, input.shape[2], input.shape[1], ink.longer_side);
}

// Of grey pixels, the same in each channel.
function asTensor(pixels, { shape: [, rows, columns, channels] }) {
  const values = Uint8Array.from({ length: channels * pixels.length }, (_, place) => pixels[Math.floor(place / channels)]);
  return new ort.Tensor("uint8", values, [1, rows, columns, channels]);
}

function showSeen(canvas, pixels) {
  const image = new ImageData(canvas.width, canvas.height);
  for (let place = 0; place < canvas.width * canvas.height; place++) {
    const value = pixels?.[place] ?? 0;
    image.data.set([value, value, value, 255], 4 * place);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
