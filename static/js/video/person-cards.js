// The persons beside the player, each with a picture, a name and what can be changed by hand.

import { clone, make, write } from "../dom.js";
import { colourOf } from "../faces.js";
import { text } from "../language.js";
import { formatTime } from "./times.js";

const SIDE = 72;
const MARGIN = 0.2;
// A picture is replaced by one of a face that is this much larger.
const LARGER = 1.3;

export class PersonCards {
  #root;
  #on;
  #cards = new Map();
  #pictures = new Map(); // of tracks: a canvas and the face's side

  /** @param on.choose,on.rename,on.hide,on.merge,on.split,on.baseline called with a person's id */
  constructor(root, on) {
    this.#root = root;
    this.#on = on;
  }

  /** Keep a picture of each new or larger face, from the JPEG that it was read in. */
  async picture(faces, blob, image) {
    const wanted = faces.filter(({ track, box }) => !(box.width < this.#pictures.get(track)?.side * LARGER));
    if (!wanted.length) return;
    const pictures = wanted.map(({ track, box }) => {
      const canvas = this.#pictures.get(track)?.canvas ?? make("canvas", { width: SIDE, height: SIDE });
      this.#pictures.set(track, { canvas, side: box.width });
      return { canvas, box };
    });
    const frame = await createImageBitmap(blob);
    const scale = frame.width / image.width;
    for (const { canvas, box } of pictures) {
      const [x, y, side] = [box.x - box.width * MARGIN, box.y - box.height * MARGIN, box.width * (1 + 2 * MARGIN)];
      canvas.getContext("2d").drawImage(frame, x * scale, y * scale, side * scale, side * scale, 0, 0, SIDE, SIDE);
    }
  }

  /** @param marking the id whose baseline has begun and not ended */
  show(persons, { series, chosen, baselines, marking, nameOf }) {
    for (const [id, card] of this.#cards) if (!persons.get(id)) this.#remove(id, card);
    for (const person of persons.all) {
      const card = this.#cards.get(person.id) ?? this.#add(person);
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
      this.#showPicture(card, samples);
      this.#fillMerge(card, person, persons, nameOf);
    }
  }

  clear() {
    for (const [id, card] of this.#cards) this.#remove(id, card);
    this.#pictures.clear();
  }

  #add({ id }) {
    const card = clone("person");
    const at = (name) => card.querySelector(`.person-${name}`);
    card.style.setProperty("--tone", colourOf(id - 1));
    at("name").setAttribute("aria-label", text("name_of", { number: id }));
    at("choose").addEventListener("click", () => this.#on.choose(id));
    at("name").addEventListener("input", ({ target }) => this.#on.rename(id, target.value.trim()));
    at("hidden").addEventListener("change", ({ target }) => this.#on.hide(id, target.checked));
    at("merge").addEventListener("change", ({ target }) => this.#on.merge(id, Number(target.value)));
    at("split").addEventListener("click", () => this.#on.split(id));
    at("baseline").addEventListener("click", () => this.#on.baseline(id));
    this.#cards.set(id, card);
    this.#root.append(card);
    return card;
  }

  #remove(id, card) {
    card.remove();
    this.#cards.delete(id);
  }

  #showPicture(card, samples) {
    const { canvas } = this.#pictures.get(samples[0]?.face.track) ?? {};
    if (canvas) card.querySelector("canvas").getContext("2d").drawImage(canvas, 0, 0);
  }

  #fillMerge(card, person, persons, nameOf) {
    const others = persons.all.filter(({ id }) => id !== person.id);
    const options = others.map((other) => [nameOf(other), String(other.id)]);
    const picker = card.querySelector(".person-merge");
    // A list that is open must not be replaced by an equal one.
    if (picker.dataset.options === JSON.stringify(options)) return;
    picker.dataset.options = JSON.stringify(options);
    picker.replaceChildren(new Option("–", ""), ...options.map(([name, value]) => new Option(name, value)));
  }
}
