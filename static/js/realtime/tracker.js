// Numbers for faces read one photo at a time, as the server numbers those of a socket.

// A face may have moved by its own width since the last photo.
const FARTHEST_SIDES = 1;
const KEEP_MS = 2000;

let places = [];
let next = 1;

/** Give each face the number of the nearest face that hasn't left, or a new one. */
export function follow(faces, now = performance.now()) {
  places = places.filter(({ missedSince = now }) => now - missedSince <= KEEP_MS);
  const free = new Set(places);
  const numbered = faces.map((face) => {
    const known = nearest(free, face.box);
    free.delete(known);
    return { track: known?.track ?? next++, detected: true, ...face };
  });
  const missed = [...free].map((place) => ({ missedSince: now, ...place }));
  places = [...missed, ...numbered.map(({ track, box }) => ({ track, box }))];
  return numbered;
}

function nearest(places, box) {
  let best = null;
  let least = FARTHEST_SIDES;
  for (const place of places) {
    const distance = distanceInSides(place.box, box);
    if (distance > least) continue;
    best = place;
    least = distance;
  }
  return best;
}

function distanceInSides(one, other) {
  const across = one.x + one.width / 2 - other.x - other.width / 2;
  const down = one.y + one.height / 2 - other.y - other.height / 2;
  return Math.hypot(across, down) / Math.max(one.width, other.width);
}
