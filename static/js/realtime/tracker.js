// Track numbers for faces that are read one photo at a time, as the server numbers those of a socket.

import { compareBoxes } from "../faces.js";

// A face may have moved by its own width since the last photo.
const FARTHEST_SIDES = 1;
const KEEP_MS = 2000;

let tracks = [];
let next = 1;

/** Give each face the number of the nearest track seen lately, or a new one; `now` is in milliseconds. */
export function track(faces, now) {
  tracks = tracks.filter(({ missedSince = now }) => now - missedSince <= KEEP_MS);
  const free = new Set(tracks);
  const numbered = faces.map((face) => {
    const known = nearest(free, face.box);
    free.delete(known);
    return { track: known?.track ?? next++, detected: true, ...face };
  });
  const missed = [...free].map((each) => ({ missedSince: now, ...each }));
  tracks = [...missed, ...numbered.map(({ track, box }) => ({ track, box }))];
  return numbered;
}

function nearest(candidates, box) {
  const near = [...candidates]
    .map((each) => [compareBoxes(each.box, box).sides, each])
    .filter(([distance]) => distance <= FARTHEST_SIDES);
  return near.sort((a, b) => a[0] - b[0])[0]?.[1];
}
