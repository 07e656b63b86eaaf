// A canvas to draw on, dark on light: with mouse, pen or finger, or with the keyboard. `changed` is called after every stroke's piece.

const PEN = 22, STEP = 6;

export class Pad {
  constructor(canvas, changed) {
    [this.canvas, this.context] = [canvas, canvas.getContext("2d", { willReadFrequently: true })];
    this.pen = { x: canvas.width / 2, y: canvas.height / 2, isDown: false };
    this.changed = () => {}; // nobody can use the pad before it is made
    this.clear();
    this.changed = changed;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.lineFrom(this.place(event), this.place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.lineFrom(this.last, this.place(event));
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.show());
    canvas.addEventListener("blur", () => this.show());
  }

  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return { x: ((event.clientX - left) / width) * this.canvas.width, y: ((event.clientY - top) / height) * this.canvas.height };
  }

  lineFrom(start, end) {
    Object.assign(this.drawing, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
    this.drawing.beginPath();
    this.drawing.moveTo(start.x, start.y);
    this.drawing.lineTo(end.x + 0.01, end.y); // a line of no length would not be drawn, and a dot is one
    this.drawing.stroke();
    [this.last, this.isEmpty, this.marked] = [end, false, null];
    this.show();
    this.changed();
  }

  key(event) {
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else if (event.key === " ") this.pen.isDown = !this.pen.isDown;
    else if (!(event.key in moves)) return;
    event.preventDefault();
    if (event.key in moves) {
      const before = { ...this.pen }, inside = (value, most) => Math.min(most - PEN / 2, Math.max(PEN / 2, value));
      this.pen.x = inside(this.pen.x + moves[event.key][0], this.canvas.width);
      this.pen.y = inside(this.pen.y + moves[event.key][1], this.canvas.height);
      if (this.pen.isDown) this.lineFrom(before, this.pen);
    }
    this.show();
  }

  // Shows a picture, dark on light, instead of a drawing.
  put(picture) {
    this.clear();
    const { width, height } = this.canvas, scale = Math.min(width / picture.width, height / picture.height);
    this.drawing.drawImage(picture, (width - picture.width * scale) / 2, (height - picture.height * scale) / 2, picture.width * scale, picture.height * scale);
    this.isEmpty = false;
    this.show();
  }

  // A cross, at a place in parts of the width and height, until the drawing changes.
  mark(x, y) {
    this.marked = { x: x * this.canvas.width, y: y * this.canvas.height };
    this.show();
  }

  clear() {
    this.marked = null;
    this.layer = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    this.drawing = this.layer.getContext("2d", { willReadFrequently: true });
    this.drawing.fillStyle = "#fff";
    this.drawing.fillRect(0, 0, this.layer.width, this.layer.height);
    this.isEmpty = true;
    this.show();
    this.changed();
  }

  // The drawing, the cross and, for the keyboard, where the pen is.
  show() {
    this.context.drawImage(this.layer, 0, 0);
    if (this.marked) {
      const { x, y } = this.marked;
      Object.assign(this.context, { strokeStyle: "#c00", lineWidth: 3 });
      this.context.beginPath();
      for (const [dx, dy] of [[8, 0], [0, 8]]) {
        this.context.moveTo(x - dx, y - dy);
        this.context.lineTo(x + dx, y + dy);
      }
      this.context.stroke();
    }
    if (!this.canvas.matches(":focus-visible")) return;
    Object.assign(this.context, { strokeStyle: this.pen.isDown ? "#c00" : "#888", lineWidth: 2 });
    this.context.beginPath();
    this.context.arc(this.pen.x, this.pen.y, PEN / 2, 0, 2 * Math.PI);
    this.context.stroke();
  }
}
