// Pictures for the models: photographs cut and resized, and drawings cut out, as examples/predict.py does it.

const SMALL = 80, NEARBY = 8, LARGE = 400, MIN_CONTRAST = 16;

// What any picture shows, drawn into a canvas of at most `side` pixels.
export function drawn(picture, side) {
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale)));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  layGround(context);
  return canvas;
}

// Below what is transparent: white, or black where what is to be seen is light. A white drawing on nothing would be lost.
function layGround(context) {
  const { width, height } = context.canvas, { data } = context.getImageData(0, 0, width, height);
  let [light, seen] = [0, 0];
  for (let place = 0; place < data.length; place += 4) {
    light += (data[place] + data[place + 1] + data[place + 2]) * data[place + 3];
    seen += data[place + 3];
  }
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = light > 127.5 * 3 * seen ? "#000" : "#fff";
  context.fillRect(0, 0, width, height);
}

// uint8 [height, width, 3]: shorter side and crop as the signature says, else cut to the model's proportions in the middle.
export function asPhotograph(picture, signature) {
  const [height, width] = signature.input.shape.slice(1);
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  const scale = signature.resize
    ? signature.resize.shorter_side / Math.min(picture.width, picture.height)
    : Math.max(width / picture.width, height / picture.height);
  const shown = [picture.width * scale, picture.height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (width - shown[0]) / 2, (height - shown[1]) / 2, ...shown);
  layGround(context);
  return context.getImageData(0, 0, width, height).data.filter((_, place) => place % 4 !== 3);
}

// A picture as on paper: what is light on dark is inverted.
export function onPaper(picture) {
  const canvas = drawn(picture, LARGE), grey = asGrey(canvas);
  if (!hasDarkStrokes(resized(grey, ...fitting(grey, SMALL)))) {
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = "difference";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  return canvas;
}

// What stands on a paper, where it stands, light on dark, uint8 [height, width].
export function lightOnDark(paper, width, height) {
  return Uint8Array.from(resized(asGrey(drawn(paper, LARGE)), width, height).values, (value) => Math.round(255 - value));
}

// Brightness of a canvas, 0 to 255: {width, height, values}.
export function asGrey(canvas) {
  const { width, height } = canvas, { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const values = Float64Array.from({ length: width * height }, (_, place) =>
    0.299 * data[4 * place] + 0.587 * data[4 * place + 1] + 0.114 * data[4 * place + 2]);
  return { width, height, values };
}

// The drawing on a paper, dark on light: uint8 [height, width], light on dark, its longer side `longerSide`, its centre of mass in the
// middle; null where there is none.
export function cutOutDrawing(paper, width, height, longerSide) {
  const grey = asGrey(drawn(paper, LARGE)), shown = { ...grey, values: grey.values.map((value) => 255 - value) };
  // The paper may be lit unevenly: its brightness is a morphological opening, which leaves no stroke.
  const opened = extreme(extreme(resized(shown, ...fitting(shown, SMALL)), NEARBY, Math.min), NEARBY, Math.max);
  const page = resized(opened, grey.width, grey.height);
  const ink = shown.values.map((value, place) => Math.max(0, value - page.values[place]));
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  if (most < MIN_CONTRAST) return null;
  const clear = { ...grey, values: ink.map((value) => 255 * Math.min(1, Math.max(0, (2 * value) / most - 0.5))) };
  const cut = cropped(clear, 127.5), scale = longerSide / Math.max(cut.width, cut.height);
  const drawing = resized(cut, Math.max(1, Math.round(cut.width * scale)), Math.max(1, Math.round(cut.height * scale)));
  return placed(drawing, width, height);
}

// Strokes are few beside what is around them.
function hasDarkStrokes(small) {
  const page = median(small, NEARBY);
  return small.values.reduce((sum, value, place) => sum + (value - page.values[place]) ** 3, 0) < 0;
}

function fitting({ width, height }, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

// Each new pixel is the mean of what it covers; where it covers less than a pixel, it lies between its neighbours.
export function resized({ width, height, values }, newWidth, newHeight) {
  const across = weights(width, newWidth), down = weights(height, newHeight);
  const result = new Float64Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      for (const [row, ofRow] of down[y]) for (const [column, ofColumn] of across[x]) sum += ofRow * ofColumn * values[row * width + column];
      result[y * newWidth + x] = sum;
    }
  }
  return { width: newWidth, height: newHeight, values: result };
}

function weights(length, newLength) {
  const step = length / newLength, reach = Math.max(1, step);
  return Array.from({ length: newLength }, (_, place) => {
    const centre = (place + 0.5) * step - 0.5, found = [];
    for (let at = Math.floor(centre - reach); at <= Math.ceil(centre + reach); at++) {
      const weight = Math.max(0, 1 - Math.abs(at - centre) / reach);
      if (weight > 0) found.push([Math.min(length - 1, Math.max(0, at)), weight]);
    }
    const total = found.reduce((sum, [, weight]) => sum + weight, 0);
    return found.map(([at, weight]) => [at, weight / total]);
  });
}

// Each pixel becomes the least, or most, of the square around it: of its row first, and then of its column.
function extreme({ width, height, values }, radius, choose) {
  const along = (from, length, step) => from.map((own, at) => {
    const place = Math.floor(at / step) % length;
    let best = own;
    for (let other = Math.max(0, place - radius); other <= Math.min(length - 1, place + radius); other++) {
      best = choose(best, from[at + (other - place) * step]);
    }
    return best;
  });
  return { width, height, values: along(along(values, width, 1), height, width) };
}

// Each pixel becomes the median of the square around it.
function median({ width, height, values }, radius) {
  const result = Float64Array.from(values, (_, place) => {
    const x = place % width, y = Math.floor(place / width), nearby = [];
    for (let row = Math.max(0, y - radius); row <= Math.min(height - 1, y + radius); row++) {
      for (let column = Math.max(0, x - radius); column <= Math.min(width - 1, x + radius); column++) nearby.push(values[row * width + column]);
    }
    return Float64Array.from(nearby).sort()[nearby.length >> 1];
  });
  return { width, height, values: result };
}

function cropped({ width, height, values }, least) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  values.forEach((value, place) => {
    if (value <= least) return;
    const x = place % width, y = Math.floor(place / width);
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  });
  const result = { width: right - left + 1, height: bottom - top + 1 };
  result.values = Float64Array.from({ length: result.width * result.height }, (_, place) =>
    values[(top + Math.floor(place / result.width)) * width + left + (place % result.width)]);
  return result;
}

function placed(drawing, width, height) {
  let [mass, massX, massY] = [0, 0, 0];
  drawing.values.forEach((value, place) => {
    mass += value;
    massX += value * (place % drawing.width);
    massY += value * Math.floor(place / drawing.width);
  });
  const start = (side, length, centre) => Math.min(side - length, Math.max(0, Math.round((side - 1) / 2 - centre)));
  const left = start(width, drawing.width, massX / mass), top = start(height, drawing.height, massY / mass);
  const pixels = new Uint8Array(width * height);
  drawing.values.forEach((value, place) => {
    pixels[(top + Math.floor(place / drawing.width)) * width + left + (place % drawing.width)] = Math.round(value);
  });
  return pixels;
}
