// Where the labels of faces go: beside their boxes, never on a face nor on each other.

const GAP = 5;

/** Return the upright rectangle around a box in pixels that is rotated about its centre. */
export function aroundBox({ left, top, width, height, roll = 0 }) {
  const angle = (roll * Math.PI) / 180;
  const grow = (Math.abs(Math.cos(angle)) + Math.abs(Math.sin(angle)) - 1) / 2;
  return { left: left - width * grow, top: top - height * grow, width: width * (1 + 2 * grow), height: height * (1 + 2 * grow) };
}

/**
 * Place a label for each rectangle: its words where they are free, else its number, which in a crowd
 * may have to go into the corner of its own face.
 * @param sizes for each rectangle `words` and `number`, each with width and height
 * @returns for each rectangle left, top, width, height, and whether `words` fitted
 */
export function placeLabels(rectangles, sizes, area, gap = GAP) {
  const placed = [];
  const isFree = (label) => isInside(label, area) && ![...rectangles, ...placed].some((other) => overlap(label, other));
  return rectangles.map((rectangle, index) => {
    const { words, number } = sizes[index];
    const withWords = spots(rectangle, words, gap).find(isFree);
    const label = withWords ?? spots(rectangle, number, gap).find(isFree) ?? { left: rectangle.left, top: rectangle.top, ...number };
    placed.push(label);
    return { ...label, words: Boolean(withWords) };
  });
}

function spots({ left, top, width, height }, size, gap) {
  const [end, middle] = [left + width - size.width, top + (height - size.height) / 2];
  const [above, below] = [top - size.height - gap, top + height + gap];
  const places = [[left, above], [end, above], [left, below], [end, below], [left + width + gap, middle], [left - size.width - gap, middle]];
  return places.map(([x, y]) => ({ left: x, top: y, ...size }));
}

const isInside = (label, area) =>
  label.left >= 0 && label.top >= 0 && label.left + label.width <= area.width && label.top + label.height <= area.height;

const overlap = (a, b) =>
  a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
