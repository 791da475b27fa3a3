// One convolution in numbers: a place of the crop, a filter, their products and the sum that the map holds.

import { formatHundredths, text } from "../language.js";

export function wireConvolution(figure) {
  const { size, side, filters, biases, crop } = JSON.parse(figure.querySelector("script").textContent);
  const [input, map] = figure.querySelectorAll("canvas");
  const range = figure.querySelector("input");
  const reach = Math.floor(side / 2);
  let place = { x: Math.floor(size / 2), y: Math.floor(size / 2) };

  // Beyond the edge a convolution sees zeros.
  const inside = (x, y) => x >= 0 && y >= 0 && x < size && y < size;
  const patch = ({ x, y }) =>
    Array.from({ length: side * side }, (_, at) => {
      const [column, row] = [x + (at % side) - reach, y + Math.floor(at / side) - reach];
      return inside(column, row) ? crop[row * size + column] : 0;
    });
  const convolve = (at, filter) => patch(at).reduce((sum, value, each) => sum + value * filter[each], 0);

  function show() {
    const number = Number(range.value);
    const [filter, bias] = [filters[number - 1], biases[number - 1]];
    const values = Array.from({ length: size * size }, (_, at) =>
      Math.max(0, convolve({ x: at % size, y: Math.floor(at / size) }, filter) + bias),
    );
    paint(input, size, crop, Math.min(...crop), Math.max(...crop));
    paint(map, size, values, 0, Math.max(...values, 1e-9));
    for (const canvas of [input, map]) frame(canvas, place, reach, side);
    const seen = patch(place);
    const products = seen.map((value, each) => value * filter[each]);
    const sum = products.reduce((a, b) => a + b, 0);
    [seen, filter, products].forEach((numbers, at) => fill(figure.querySelectorAll("table")[at], numbers));
    const words = { sum: formatHundredths(sum), bias: formatHundredths(bias), value: formatHundredths(Math.max(0, sum + bias)) };
    figure.querySelector("p output").textContent = text("convolution", words);
    figure.querySelector("label output").textContent = text("filter", { number, count: filters.length });
  }

  const move = (x, y) => {
    if (!inside(x, y)) return;
    place = { x, y };
    show();
  };
  for (const canvas of [input, map]) {
    canvas.addEventListener("pointermove", ({ offsetX, offsetY }) =>
      move(Math.floor((offsetX / canvas.clientWidth) * size), Math.floor((offsetY / canvas.clientHeight) * size)),
    );
  }
  map.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    move(place.x + step[0], place.y + step[1]);
  });
  range.addEventListener("input", show);
  show();
}

function paint(canvas, size, values, low, high) {
  const pixels = new ImageData(size, size);
  values.forEach((value, at) => {
    const shade = (255 * (value - low)) / (high - low || 1);
    pixels.data.set([shade, shade, shade, 255], at * 4);
  });
  canvas.width = size;
  canvas.height = size;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function frame(canvas, { x, y }, reach, side) {
  const context = canvas.getContext("2d");
  context.strokeStyle = "#f6bd4b";
  context.strokeRect(x - reach - 0.5, y - reach - 0.5, side + 1, side + 1);
}

const fill = (table, numbers) =>
  [...table.querySelectorAll("td")].forEach((cell, at) => (cell.textContent = formatHundredths(numbers[at])));
