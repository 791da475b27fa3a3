// One channel of a block, drawn large from the sheet that holds them all.

import { text } from "../language.js";

// The sheet's tiles stand one pixel apart.
const GAP = 1;

export async function wireBlock(block) {
  const sheet = block.querySelector("img");
  const range = block.querySelector("input");
  await sheet.decode();
  const show = () => draw(block, sheet, Number(range.value));
  range.addEventListener("input", show);
  show();
}

function draw(block, sheet, channel) {
  const { count, columns, tileWidth, tileHeight } = block.dataset;
  const [width, height] = [Number(tileWidth), Number(tileHeight)];
  const [column, row] = [(channel - 1) % columns, Math.floor((channel - 1) / columns)];
  const canvas = block.querySelector("canvas");
  canvas.getContext("2d").drawImage(
    sheet, column * (width + GAP), row * (height + GAP), width, height, 0, 0, width, height,
  );
  const words = text("channel", { number: channel, count });
  canvas.setAttribute("aria-label", words);
  block.querySelector("output").textContent = words;
}
