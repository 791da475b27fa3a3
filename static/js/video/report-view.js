// The report as a table: a row for each person and expression.

import { element, make } from "../dom.js";
import { className, formatNumber, formatShare, text } from "../language.js";
import { formatTime } from "./times.js";

/**
 * @param reports of each shown person: the name, and what `summarize` returns
 * @param settings a sentence that says how the film was read
 */
export function showReport(reports, settings) {
  const read = reports.filter(({ shares }) => shares.length);
  element("report-empty").hidden = read.length > 0;
  element("report-body").hidden = read.length === 0;
  element("report-body").querySelector("tbody").replaceChildren(...read.flatMap(rows));
  element("report-persons").replaceChildren(
    ...read.map(({ name, seen_s, changes, block_s }) => {
      const values = { name, seen: formatTime(seen_s), changes: formatNumber(changes), block: formatNumber(block_s) };
      return make("li", { textContent: text("report_person", values) });
    }),
    make("li", { textContent: settings }),
  );
}

function rows({ name, shares }) {
  return shares.map(({ state, share, low, high, longest_s }, index) => {
    const word = state === "unsure" ? text("unsure") : className(state);
    const numbers = [formatShare(share), low === high ? "–" : `${formatShare(low)} – ${formatShare(high)}`, formatTime(longest_s)];
    return make(
      "tr",
      {},
      make("th", { scope: "row", textContent: index ? "" : name }),
      make("td", { textContent: word }),
      ...numbers.map((textContent) => make("td", { className: "number", textContent })),
    );
  });
}
