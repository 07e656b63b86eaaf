// The panel of models that are shown pictures: chosen, dropped, pasted or taken by the camera, one large and the others small below it.

import { ort } from "./predict.mjs";
import { Answers, askAll, inShort } from "./answers.js";
import { button, hint, isolated, make, oneAtATime } from "./elements.js";
import { asPhotograph, fitted } from "./pictures.js";
import { camera, decoded, taker } from "./taking.js";

const MAX_PICTURES = 60, SIDE = 640, SMALL = 160; // pixels of what is shown, at most

// A picture: what it is called, how it is decoded (again, when other models are asked), what is shown of it, and what models make of it.
class Shown {
  constructor(title, open) {
    Object.assign(this, { title, open, preview: null, small: "", results: new Map() });
  }

  async ask(models, heard) {
    const missing = models.filter((model) => !this.results.has(model));
    if (missing.length === 0) return;
    try {
      const picture = await this.open();
      this.preview ??= asElement(picture, SIDE, this.title);
      this.small ||= asElement(this.preview, SMALL, this.title);
      heard();
      await askAll(missing, (model) => inputOf(picture, model), (results) => {
        for (const [model, result] of results) this.results.set(model, result);
        heard();
      });
      picture.close?.();
    } catch (error) {
      for (const model of missing) this.results.set(model, { error });
      heard();
    }
  }
}

function asElement(picture, side, title) {
  const drawn = fitted(picture, side), canvas = make("canvas", { width: drawn.width, height: drawn.height, role: "img", "aria-label": title });
  canvas.getContext("2d").drawImage(drawn, 0, 0);
  return canvas;
}

function inputOf(picture, { signature }) {
  return new ort.Tensor("uint8", asPhotograph(picture, signature), [1, ...signature.input.shape.slice(1)]);
}

export function photographs(models) {
  const place = make("div", { class: "picture" }), tray = make("div", { class: "tray", role: "group", "aria-label": "Pictures" });
  const answers = new Answers(models, () => { show(); work(); }, "Waiting for a picture");
  const said = make("div", {});
  let items = [], current = null, isLive = false;

  const work = oneAtATime(async () => {
    for (let next = wanted(); next; next = wanted()) await next.ask(answers.chosen, show);
  });
  const wanted = () => [current, ...items].find((item) => item && items.includes(item) && !answers.chosen.every((model) => item.results.has(model)));

  const show = () => {
    clear.hidden = items.length === 0;
    if (!isLive) place.replaceChildren(current ? current.preview ?? hint(current.results.size ? "This picture cannot be shown." : "Reading …") : invitation);
    tray.replaceChildren(...(items.length > 1 ? items.map(thumbnail) : []));
    if (isLive) return;
    if (current) answers.show(current.results);
    else answers.idle();
  };
  const thumbnail = (item) => {
    const [first] = answers.chosen, result = item.results.get(first), caption = !result ? "…" : result.error ? "not read" : inShort(result);
    const picked = button(item.small, () => pick(item), { class: "thumbnail", "aria-pressed": String(item === current) });
    picked.append(make("span", {}, isolated(caption, 40)));
    return picked;
  };
  const pick = (item) => {
    [current, isLive] = [item, false];
    show();
  };
  const add = (added) => {
    said.replaceChildren(...(items.length + added.length > MAX_PICTURES ? [hint(`${MAX_PICTURES} pictures are shown at most.`)] : []));
    const taken = added.slice(0, MAX_PICTURES - items.length);
    items.push(...taken);
    current = taken[0] ?? current;
    show();
    return work();
  };
  const asItems = (files) => files.map((file) => new Shown(file.name, () => decoded(file)));
  const take = (files) => {
    if (files.length === 0) return answers.refuse("No file came with that: save the picture first");
    isLive = false;
    return add(asItems(files));
  };

  const choose = taker(place, "Choose pictures", { multiple: "" }, take);
  const live = camera({
    started: (video) => {
      isLive = true;
      place.replaceChildren(video);
    },
    seen: async (frame) => {
      const results = await askAll(answers.chosen, (model) => inputOf(frame, model));
      if (isLive) answers.show(results, [], true);
    },
    take: (file) => add(asItems([file])),
    refuse: (sentence) => answers.refuse(sentence),
    stopped: () => { isLive = false; show(); },
  }, () => taker(place, "Camera", { capture: "environment" }, take));
  const clear = button("Clear", () => {
    [items, current] = [[], null];
    show();
  });
  const invitation = make("button", { type: "button", class: "invitation" }, make("span", { class: "icon" }), make("strong", {}, "Drop pictures here"), make("span", {}, "or choose, paste or take some"));
  invitation.addEventListener("click", () => choose.querySelector("input").click());
  show();
  return make("div", { class: "stage" }, make("div", {}, place, make("div", { class: "tools" }, choose, ...live, clear), said, tray), answers.element);
}
