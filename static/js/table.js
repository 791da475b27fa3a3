// Faces as a CSV table, its columns named as the command line names them.

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

/** Write rows of values as CSV (RFC 4180). */
export function toCsv(rows) {
  return rows.map((row) => `${row.map(quote).join(",")}\r\n`).join("");
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

function quote(value) {
  const cell = String(value);
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
