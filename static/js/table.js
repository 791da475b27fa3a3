// Faces as a CSV table, its columns named as the command line names them.

// A spreadsheet would compute what begins so (OWASP, "CSV Injection").
const FORMULA = /^[=+\-@\t\r]/;

/** Return the columns of some faces, and a function that returns a face's row. */
export function faceTable(faces) {
  const head = [...new Set(faces.flatMap((face) => Object.keys(flatten(face))))];
  return {
    head,
    row: (face) => {
      const values = flatten(face);
      return head.map((column) => values[column] ?? "");
    },
  };
}

/**
 * Write rows of values as CSV (RFC 4180).
 * @param marked whether the file begins with a byte order mark
 */
export function toCsv(rows, { delimiter = ",", decimal = ".", marked = false } = {}) {
  const lines = rows.map((row) => `${row.map((value) => quote(value, delimiter, decimal)).join(delimiter)}\r\n`);
  return `${marked ? "\ufeff" : ""}${lines.join("")}`;
}

/** Join nested names by underscores: expression_probabilities_happy. */
export function flatten(values, prefix = "") {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value !== null && typeof value === "object"
        ? Object.entries(flatten(value, `${prefix}${name}_`))
        : [[prefix + name, value]],
    ),
  );
}

function quote(value, delimiter, decimal) {
  const cell = typeof value === "number" ? String(value).replace(".", decimal) : String(value).replace(FORMULA, "'$&");
  return [delimiter, '"', "\r", "\n"].some((special) => cell.includes(special)) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
