// The answer of a clothing model that reads the whole image alone.

import { element } from "../dom.js";
import { predictionWord } from "../faces.js";
import { text } from "../language.js";

const NONE_OF_THESE = "none_of_these";

/** Return the clothing prediction; null where the page uses other models, or others beside it. */
export const clothingPrediction = ({ image_predictions: predictions = {} }) =>
  predictions[element("photo-form").dataset.clothing] ?? null;

/** Whether a prediction says that the image shows none of the classes. */
export const showsNone = (prediction) => prediction.confident && prediction.label === NONE_OF_THESE;

/** Return the headline: the class, "none of these" or "unsure". */
export const clothingTitle = (prediction) => (showsNone(prediction) ? text("no_garment") : predictionWord(prediction));
