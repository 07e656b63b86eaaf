// The panel of models that are shown pictures: chosen, dropped, pasted or taken by the camera, one large and the others small below it.

import { ort } from "./predict.mjs";
import { Answers, askAll, inShort } from "./answers.js";
import { button, hint, isolated, make, oneAtATime } from "./elements.js";
import { asPhotograph, fitted } from "./pictures.js";
import { camera, decoded, taker } from "./taking.js";

const INVITATIONS = { coarse: ["Tap to choose pictures", "or take some"], fine: ["Drop pictures here", "or choose, paste or take some"] }; // by pointer
const MAX_PICTURES = 60, SIDE = 640, SMALL = 160; // pixels of what is shown, at most

// A picture's file, what is shown of it, and what models make of it. It is decoded again when other models are asked: it is large then.
class Shown {
  constructor(file) {
    Object.assign(this, { file, preview: null, small: "", results: new Map() });
  }

  isAnswered(models) {
    return models.every((model) => this.results.has(model));
  }

  // `heard` is called when there is more to be shown.
  async ask(models, heard) {
    const missing = models.filter((model) => !this.results.has(model));
    try {
      const picture = await decoded(this.file);
      this.preview ??= asElement(picture, SIDE, this.file.name);
      this.small ||= asElement(this.preview, SMALL, this.file.name);
      heard();
      await askAll(missing, (model) => inputOf(picture, model), (results) => {
        for (const [model, result] of results) this.results.set(model, result);
        heard();
      });
      picture.close();
    } catch (error) {
      for (const model of missing) this.results.set(model, { error });
      heard();
    }
  }
}

function asElement(picture, side, title) {
  const drawn = fitted(picture, side), { width, height } = drawn;
  const canvas = make("canvas", { width, height, role: "img", "aria-label": title });
  canvas.getContext("2d").drawImage(drawn, 0, 0);
  return canvas;
}

function inputOf(picture, { signature }) {
  return new ort.Tensor("uint8", asPhotograph(picture, signature), [1, ...signature.input.shape.slice(1)]);
}

export function photographs(models) {
  const place = make("div", { class: "picture" }), tray = make("div", { class: "tray", role: "group", "aria-label": "Pictures" });
  const answers = new Answers(models, () => renew(), "Waiting for a picture"), limit = hint();
  let items = [], current = null, isLive = false;

  const work = oneAtATime(async () => {
    const next = () => [current, ...items].find((item) => item && !item.isAnswered(answers.chosen));
    for (let item = next(); item; item = next()) await item.ask(answers.chosen, show);
  });
  const renew = () => {
    show();
    return work();
  };
  const show = () => {
    clear.hidden = items.length === 0;
    tray.replaceChildren(...(items.length > 1 ? items.map(thumbnail) : []));
    if (isLive) return;
    if (current === null) {
      place.replaceChildren(invitation);
      return answers.idle();
    }
    const instead = current.isAnswered(answers.chosen) ? "This picture cannot be shown." : "Reading …";
    place.replaceChildren(current.preview ?? hint(instead));
    return answers.show(current.results);
  };
  const thumbnail = (item) => {
    const result = item.results.get(answers.chosen[0]), caption = result ? (result.error ? "not read" : inShort(result)) : "…";
    const picked = button(item.small, () => pick(item), { class: "thumbnail", "aria-pressed": String(item === current) });
    picked.append(make("span", {}, isolated(caption, 40)));
    return picked;
  };
  const pick = (item) => {
    [current, isLive] = [item, false];
    show();
  };
  const add = (files) => {
    limit.textContent = items.length + files.length > MAX_PICTURES ? `${MAX_PICTURES} pictures are shown at most.` : "";
    const taken = files.slice(0, MAX_PICTURES - items.length).map((file) => new Shown(file));
    items.push(...taken);
    current = taken[0] ?? current;
    return renew();
  };
  const take = (files) => {
    if (files.length === 0) return answers.refuse("No file came with that: save the picture first.");
    isLive = false;
    return add(files);
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
    take: (file) => add([file]),
    stopped: () => {
      isLive = false;
      show();
    },
    refuse: (sentence) => answers.refuse(sentence),
  }, () => taker(place, "Camera", { capture: "environment" }, take));
  const clear = button("Clear", () => {
    items = [];
    limit.textContent = "";
    pick(null);
  });
  const [first, second] = INVITATIONS[matchMedia("(pointer: coarse)").matches ? "coarse" : "fine"];
  const invitation = button(make("span", { class: "icon" }), () => choose.querySelector("input").click(), { class: "invitation" });
  invitation.append(make("strong", {}, first), make("span", {}, second));
  show();
  const tools = make("div", { class: "tools" }, choose, ...live, clear);
  return make("div", { class: "stage" }, make("div", {}, place, tools, limit, tray), answers.element);
}
