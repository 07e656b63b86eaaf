// Pictures for the models: photographs cut and resized, and drawings cut out, as examples/predict.py does it.
//
// A picture is a canvas, or what a canvas draws; a grey one is {width, height, values} of brightness, 0 to 255.

const SMALL = 80, NEARBY = 8, LARGE = 400, MIN_CONTRAST = 16, MOST = 1 << 24;

// A canvas of this size with the picture in it, or the part of it that is {left, top, width, height}.
function scaled(picture, width, height, part = { left: 0, top: 0, width: picture.width, height: picture.height }) {
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, part.left, part.top, part.width, part.height, 0, 0, canvas.width, canvas.height);
  return canvas;
}

// At most `side` pixels wide and high.
export function fitted(picture, side) {
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  return scaled(picture, picture.width * scale, picture.height * scale);
}

function pixelsOf(canvas) {
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
}

// Fills all of a canvas, by a way of mixing with what is there.
function fill(canvas, colour, mixing) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = mixing;
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

// A drawing with a ground below what is transparent: white, or black where what is to be seen is light and would be lost.
function onGround(canvas) {
  const data = pixelsOf(canvas);
  let [light, seen] = [0, 0];
  for (let place = 0; place < data.length; place += 4) {
    light += (data[place] + data[place + 1] + data[place + 2]) * data[place + 3];
    seen += data[place + 3];
  }
  return fill(canvas, light > 127.5 * 3 * seen ? "#000" : "#fff", "destination-over");
}

// uint8 [height, width, channels]: shorter side and crop as the signature says, else cut to the model's proportions in the middle.
export function asPhotograph(picture, { input, resize }) {
  const [height, width, channels] = input.shape.slice(1), size = [picture.width, picture.height], shorter = Math.min(...size);
  const [across, down] = [width, height].map((count, axis) => {
    const fitting = size[axis] / Math.min(size[0] / width, size[1] / height);
    const whole = resize ? Math.trunc((resize.shorter_side * size[axis]) / shorter) : fitting;
    const step = size[axis] / whole, before = (whole - count) / 2;
    return { start: (resize ? halfEven(before) : before) * step, step, count };
  });
  const coarse = Math.ceil(Math.sqrt((size[0] * size[1]) / MOST)); // some browsers draw on no larger canvas
  const canvas = scaled(picture, picture.width / coarse, picture.height / coarse);
  fill(canvas, "#fff", "destination-over"); // below what is transparent
  const rows = resampled(canvas, inPixels(across, canvas.width / picture.width), inPixels(down, canvas.height / picture.height));
  return channels === 3 ? Uint8Array.from(rows, Math.round) : Uint8Array.from({ length: rows.length / 3 }, (_, place) =>
    Math.round(0.299 * rows[3 * place] + 0.587 * rows[3 * place + 1] + 0.114 * rows[3 * place + 2]));
}

const halfEven = (value) => (Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value)); // as Python rounds
const inPixels = ({ start, step, count }, scale) => ({ start: start * scale, step: step * scale, count });

// [height, width, 3] of a canvas, each pixel the mean of those around it under a triangle as wide as a step: Pillow's BILINEAR, which
// models have learned with. A canvas that draws a picture smaller makes it sharper, and answers differ by some points.
function resampled(canvas, across, down) {
  const data = pixelsOf(canvas), columns = weightsOf(across, canvas.width), rows = weightsOf(down, canvas.height);
  const [first, last] = [rows[0].first, rows.at(-1).first + rows.at(-1).weights.length], line = 3 * across.count;
  const narrow = new Float32Array((last - first) * line), result = new Float32Array(down.count * line);
  for (let y = first; y < last; y++) {
    columns.forEach(({ first: left, weights }, x) => {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0, place = 4 * (y * canvas.width + left) + channel;
        for (const weight of weights) {
          sum += weight * data[place];
          place += 4;
        }
        narrow[(y - first) * line + 3 * x + channel] = sum;
      }
    });
  }
  rows.forEach(({ first: top, weights }, y) => weights.forEach((weight, place) => {
    const from = (top - first + place) * line;
    for (let x = 0; x < line; x++) result[y * line + x] += weight * narrow[from + x];
  }));
  return result;
}

// For each pixel that is made along a side: the first that it is made of, and the weights of that and the next ones.
function weightsOf({ start, step, count }, length) {
  const reach = Math.max(1, step);
  return Array.from({ length: count }, (_, place) => {
    const centre = start + (place + 0.5) * step, end = Math.min(length, Math.floor(centre + reach + 0.5));
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, next) => Math.max(0, 1 - Math.abs(first + next + 0.5 - centre) / reach));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

// A picture as on paper: what is light on dark is inverted.
export function onPaper(picture) {
  const canvas = onGround(fitted(picture, LARGE)), small = asGrey(fitted(canvas, SMALL)), page = median(small, NEARBY);
  const isDark = small.values.reduce((sum, value, place) => sum + (value - page[place]) ** 3, 0) < 0; // strokes are few beside what is around
  return isDark ? canvas : fill(canvas, "#fff", "difference");
}

// What stands on a paper, where it stands, light on dark, uint8 [height, width].
export function lightOnDark(paper, width, height) {
  return Uint8Array.from(asGrey(scaled(paper, width, height)).values, (value) => Math.round(255 - value));
}

function asGrey(canvas) {
  const { width, height } = canvas, data = pixelsOf(canvas);
  const values = Float64Array.from({ length: width * height }, (_, place) =>
    0.299 * data[4 * place] + 0.587 * data[4 * place + 1] + 0.114 * data[4 * place + 2]);
  return { width, height, values };
}

function asCanvas({ width, height, values }) {
  const image = new ImageData(width, height), canvas = new OffscreenCanvas(width, height);
  values.forEach((value, place) => image.data.set([value, value, value, 255], 4 * place));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// The drawing on a paper, dark on light: uint8 [height, width], light on dark, its longer side `longerSide`, its centre of mass in the
// middle; null where there is none.
export function cutOutDrawing(paper, width, height, longerSide) {
  const canvas = fitted(paper, LARGE), inverted = fill(canvas, "#fff", "difference"), shown = asGrey(inverted);
  // The paper may be lit unevenly: its brightness is a morphological opening, which leaves no stroke.
  const opened = extreme(extreme(asGrey(fitted(inverted, SMALL)), NEARBY, Math.min), NEARBY, Math.max);
  const page = asGrey(scaled(asCanvas(opened), shown.width, shown.height)).values;
  const ink = shown.values.map((value, place) => Math.max(0, value - page[place]));
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  if (most < MIN_CONTRAST) return null;
  const clear = { ...shown, values: ink.map((value) => 255 * Math.min(1, Math.max(0, (2 * value) / most - 0.5))) };
  const box = boxOf(clear, 127.5), scale = longerSide / Math.max(box.width, box.height);
  return centred(asGrey(scaled(asCanvas(clear), box.width * scale, box.height * scale, box)), width, height);
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

// For each pixel the median of the square around it.
function median({ width, height, values }, radius) {
  return Float64Array.from(values, (_, place) => {
    const x = place % width, y = Math.floor(place / width), nearby = [];
    for (let row = Math.max(0, y - radius); row <= Math.min(height - 1, y + radius); row++) {
      nearby.push(...values.subarray(row * width + Math.max(0, x - radius), row * width + Math.min(width, x + radius + 1)));
    }
    return Float64Array.from(nearby).sort()[nearby.length >> 1];
  });
}

// Where there is something above `least`.
function boxOf({ width, height, values }, least) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  values.forEach((value, place) => {
    if (value <= least) return;
    const x = place % width, y = Math.floor(place / width);
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  });
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

// On black, its centre of mass in the middle as far as there is room.
function centred(drawing, width, height) {
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
