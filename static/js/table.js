// Readings as a CSV table, its columns named as the command line names them.

// A spreadsheet would compute what begins so (OWASP, "CSV Injection").
const FORMULA = /^[=+\-@\t\r]/;

/**
 * Write rows, given by the names of their values, as CSV (RFC 4180).
 * @param columns names of the columns; otherwise all that the rows have
 * @param marked whether the file begins with a byte order mark
 */
export function toCsv(rows, { columns, delimiter = ",", decimal = ".", marked = false } = {}) {
  const flat = rows.map((row) => flatten(row));
  const head = columns ?? [...new Set(flat.flatMap(Object.keys))];
  const line = (values) => `${values.map((value) => quote(value, delimiter, decimal)).join(delimiter)}\r\n`;
  const lines = [head, ...flat.map((row) => head.map((column) => row[column] ?? ""))].map(line);
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
