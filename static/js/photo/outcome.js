// What the page shows of one photo: the photo itself, its boxes and cards, or why it has no answer.

import { element, make } from "../dom.js";
import { countWords, predictionWords, spokenFaces } from "../faces.js";
import { facesFound, formatMilliseconds, formatNumber, formatProbability, problemSentence, stepName, taskName, text } from "../language.js";
import * as cards from "./cards.js";
import { clothingPrediction, clothingTitle, showsNone } from "./clothing.js";
import * as overlay from "./overlay.js";

const CLEARED = ["photo-note", "message", "message-reference", "retry", "thorough", "downloads", "tally"];

const picture = element("picture");
const onCard = { onSelect: select, onShow: overlay.focus, onPoint: overlay.point };

overlay.wireOverlay({
  onSelect: (index) => {
    select(index);
    cards.reveal(index);
  },
  onPoint: cards.point,
});

// Whether the browser could draw the photo that is on the page: a promise, replaced with each photo.
let drawn = null;

/** Put a photo on the page, in place of the last one. */
export function showPhoto({ photo, name }) {
  clearOutcome();
  element("outcome-view").hidden = false;
  element("photo-name").textContent = name || text("pasted");
  picture.alt = text("photo_of", { name: name || text("pasted") });
  drawn = drawPicture(photo);
}

/** Clear what the last photo left on the page. */
export function clearOutcome() {
  clearAnswer();
  if (picture.src) URL.revokeObjectURL(picture.src);
  picture.removeAttribute("src");
  element("photo").hidden = true;
}

function clearAnswer() {
  overlay.show([]);
  cards.show({ faces: [] });
  for (const id of CLEARED) element(id).hidden = true;
}

/** Say that the photo on the page waits or is being read. */
export function showWorking({ state, busy }, stopped) {
  clearAnswer();
  setState("working", stopped);
  headline(text(busy ? "busy_waiting" : state === "waiting" ? "states.waiting" : "reading"));
}

/** Say how much of the photo was sent. */
export function showSent({ sent = 0 }) {
  const percentage = formatNumber(Math.floor(sent * 100));
  const reading = element("photo-form").dataset.clothing ? "reading" : "finding";
  element("progress-text").textContent = sent < 1 ? text("sending", { percentage }) : text(reading);
}

/** Show the answer about the photo on the page, once the photo is drawn. */
export async function showAnalysis({ analysis, size, sentSize }, isCurrent) {
  const shown = await drawn;
  if (!isCurrent()) return;
  const { faces, image, image_predictions: predictions } = analysis;
  const clothing = clothingPrediction(analysis);
  if (clothing) sayClothing(clothing);
  else sayFaces(faces);
  photoNote(
    !image.complete && text("photo_incomplete"),
    analysis.truncated && text("faces_truncated", { count: formatNumber(faces.length) }),
    !shown && text("photo_not_shown"),
    size && text("shrunk", { width: formatNumber(sentSize.width), height: formatNumber(sentSize.height) }),
  );
  overlay.show(faces, image);
  cards.show(analysis, shown && picture, onCard);
  if (faces.length) select(0);
  showPrintedTable(faces);
  showDetails(analysis);
  element("download-picture").hidden = !shown || !(faces.length || clothing);
  element("download-csv").hidden = !faces.length && !predictions;
  element("downloads").hidden = false;
}

/** Say why the photo on the page has no answer. */
export async function showProblem({ problem }, isCurrent) {
  const shown = await drawn;
  if (!isCurrent()) return;
  setState("problem");
  const sentence = problemSentence(problem);
  headline(text("no_answer"), sentence);
  message(sentence, problem.request_id);
  element("photo").hidden = !shown;
}

/** Write remarks below the photo. */
export function photoNote(...remarks) {
  const words = remarks.filter(Boolean).join(" ");
  element("photo-note").textContent = words;
  element("photo-note").hidden = !words;
}

async function drawPicture(photo) {
  const address = URL.createObjectURL(photo);
  picture.src = address;
  try {
    await picture.decode();
  } catch {
    return false;
  }
  if (picture.src !== address) return false;
  element("photo").style.setProperty("--ratio", String(picture.naturalWidth / picture.naturalHeight));
  element("photo").hidden = false;
  overlay.zoom(1);
  return true;
}

function sayFaces(faces) {
  setState(faces.length ? "faces" : "no-face");
  headline(faces.length ? facesFound(faces.length) : text("no_face"), spokenFaces(faces, (_, index) => index + 1));
  if (!faces.length) message(text("no_face_help"));
  const counts = countWords(faces.flatMap(({ expression }) => expression ?? []));
  element("tally").textContent = counts.map(([word, count]) => `${formatNumber(count)} ${word}`).join(" · ");
  element("tally").hidden = faces.length < 2;
}

function sayClothing(prediction) {
  setState("clothing");
  headline(clothingTitle(prediction), prediction.confident ? formatProbability(prediction.probability) : "");
  if (showsNone(prediction)) message(text("no_garment_help"));
}

function setState(state, stopped = false) {
  element("outcome-view").dataset.state = stopped ? "stopped" : state;
  const working = state === "working";
  element("progress").hidden = !working || stopped;
  element("cancel").hidden = !working;
  element("another").hidden = working;
}

function select(index) {
  overlay.select(index);
  cards.select(index);
}

function headline(title, spoken = "") {
  if (element("outcome-title").textContent === title && !spoken) return;
  element("outcome-title").textContent = title;
  // Who goes through the photos by their thumbnails stays there.
  if (!element("strip").contains(document.activeElement)) element("outcome-title").focus({ preventScroll: true });
  element("announcement").textContent = [title, spoken].filter(Boolean).join(". ");
}

function message(sentence, reference = "") {
  element("message-text").textContent = sentence;
  element("message").hidden = false;
  element("message-reference").hidden = !reference;
  element("message-reference").querySelector("code").textContent = reference;
}

function showDetails({ timings_ms: timings = {}, models = {} }) {
  const rows = Object.entries(timings).map(([name, value]) => row(stepName(name), formatMilliseconds(value)));
  const items = Object.entries(models).map(([name, hash]) =>
    make("li", {}, taskName(name), " ", make("code", {}, hash)),
  );
  element("timings").replaceChildren(...rows);
  element("models").replaceChildren(...items);
}

// On paper one table takes the place of the cards.
function showPrintedTable(faces) {
  const words = (prediction) => (prediction ? predictionWords(prediction) : "–");
  const rows = faces.map(({ expression, gender }, index) => row(formatNumber(index + 1), words(expression), words(gender)));
  element("printed-faces").replaceChildren(...rows);
}

const row = (head, ...cells) => make("tr", {}, make("th", { scope: "row" }, head), ...cells.map((cell) => make("td", {}, cell)));
