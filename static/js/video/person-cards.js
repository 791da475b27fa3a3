// The persons beside the player, each with a picture, a name and what can be changed by hand.

import { clone, element, make, write } from "../dom.js";
import { colourOf } from "../faces.js";
import { text } from "../language.js";
import { formatTime } from "./times.js";

const SIDE = 72;
const MARGIN = 0.2;
// A picture is replaced by one of a face that is this much larger.
const LARGER = 1.3;

const cards = new Map(); // by the persons' ids
const pictures = new Map(); // of tracks: a canvas and the face's side

/** Keep a picture of each new or larger face, from the JPEG that it was read in. */
export async function keepPictures(faces, blob, image) {
  const wanted = faces.filter(({ track, box }) => !(box.width < pictures.get(track)?.side * LARGER));
  if (!wanted.length) return;
  const kept = wanted.map(({ track, box }) => {
    const canvas = pictures.get(track)?.canvas ?? make("canvas", { width: SIDE, height: SIDE });
    pictures.set(track, { canvas, side: box.width });
    return { canvas, box };
  });
  const frame = await createImageBitmap(blob);
  const scale = frame.width / image.width;
  for (const { canvas, box } of kept) {
    const [x, y, side] = [box.x - box.width * MARGIN, box.y - box.height * MARGIN, box.width * (1 + 2 * MARGIN)];
    canvas.getContext("2d").drawImage(frame, x * scale, y * scale, side * scale, side * scale, 0, 0, SIDE, SIDE);
  }
}

/**
 * @param marking the id whose baseline has begun and not ended
 * @param on.choose,on.rename,on.hide,on.merge,on.split,on.baseline called with a person's id
 */
export function show(persons, { series, chosen, baselines, marking, nameOf }, on) {
  for (const [id, card] of cards) if (!persons.get(id)) remove(id, card);
  for (const person of persons.all) {
    const card = cards.get(person.id) ?? add(person, on);
    const samples = series.get(person.id);
    card.classList.toggle("hidden-person", person.hidden);
    card.querySelector(".person-choose").setAttribute("aria-pressed", String(person.id === chosen));
    card.querySelector(".person-choose").setAttribute("aria-label", text("choose_person", { name: nameOf(person) }));
    card.querySelector(".person-name").placeholder = nameOf(person);
    card.querySelector(".person-hidden").checked = person.hidden;
    const seen = samples.length && { from: formatTime(samples[0].time), until: formatTime(samples.at(-1).time) };
    write(card.querySelector(".face-sublabel"), seen ? text("seen", seen) : text("not_seen"));
    const baseline = marking === person.id ? "baseline_until" : baselines.has(person.id) ? "baseline_remove" : "baseline_from";
    write(card.querySelector(".person-baseline"), text(baseline));
    const { canvas } = pictures.get(samples[0]?.face.track) ?? {};
    if (canvas) card.querySelector("canvas").getContext("2d").drawImage(canvas, 0, 0);
    fillMerge(card, person, persons, nameOf);
  }
}

export function clear() {
  for (const [id, card] of cards) remove(id, card);
  pictures.clear();
}

function add({ id }, on) {
  const card = clone("person");
  const at = (name) => card.querySelector(`.person-${name}`);
  card.style.setProperty("--tone", colourOf(id - 1));
  at("name").setAttribute("aria-label", text("name_of", { number: id }));
  at("choose").addEventListener("click", () => on.choose(id));
  at("name").addEventListener("input", ({ target }) => on.rename(id, target.value.trim()));
  at("hidden").addEventListener("change", ({ target }) => on.hide(id, target.checked));
  at("merge").addEventListener("change", ({ target }) => on.merge(id, Number(target.value)));
  at("split").addEventListener("click", () => on.split(id));
  at("baseline").addEventListener("click", () => on.baseline(id));
  cards.set(id, card);
  element("persons").append(card);
  return card;
}

function remove(id, card) {
  card.remove();
  cards.delete(id);
}

function fillMerge(card, person, persons, nameOf) {
  const others = persons.all.filter(({ id }) => id !== person.id);
  const options = others.map((other) => [nameOf(other), String(other.id)]);
  const picker = card.querySelector(".person-merge");
  // A list that is open must not be replaced by an equal one.
  if (picker.dataset.options === JSON.stringify(options)) return;
  picker.dataset.options = JSON.stringify(options);
  picker.replaceChildren(new Option("–", ""), ...options.map(([name, value]) => new Option(name, value)));
}
