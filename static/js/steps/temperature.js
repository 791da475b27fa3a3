// The temperature's slider: the server's softmax with another temperature.

import { formatHundredths, formatProbability } from "../language.js";
import { softmax } from "../softmax.js";

export function wireTemperature(table) {
  const own = Number(table.dataset.temperature);
  const range = table.querySelector("input");
  // The slider counts doublings, so that halving and doubling lie equally far from the middle.
  const show = () => draw(table, own * 2 ** Number(range.value));
  range.addEventListener("input", show);
  table.querySelector("button").addEventListener("click", () => {
    range.value = "0";
    show();
  });
}

function draw(table, temperature) {
  const rows = [...table.querySelectorAll("tbody tr")];
  const scaled = rows.map((row) => Number(row.dataset.logit) / temperature);
  const probabilities = softmax(scaled);
  table.querySelector("output").textContent = formatHundredths(temperature);
  rows.forEach((row, index) => {
    row.querySelector(".scaled").textContent = formatHundredths(scaled[index]);
    const cell = row.querySelector("data");
    cell.value = String(probabilities[index]);
    cell.textContent = formatProbability(probabilities[index]);
    row.querySelector(".meter-bar").setAttribute("width", String(probabilities[index] * 100));
  });
}
