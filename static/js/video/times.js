// Times of a film as people write them: 1:02.4, or 62.4.

import { formatNumber } from "../language.js";

const POINT = formatNumber(0.5).charAt(1);

/** Write seconds as minutes and seconds, with hours where there are any. */
export function formatTime(seconds, digits = 1) {
  const unit = 10 ** digits;
  const units = Math.max(0, Math.round(seconds * unit));
  const whole = Math.floor(units / unit);
  const rest = digits ? `${POINT}${String(units % unit).padStart(digits, "0")}` : "";
  const pair = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours ? `${hours}:${pair(minutes)}` : minutes}:${pair(whole % 60)}${rest}`;
}

/** Return the seconds that a text names, or NaN. */
export function parseTime(words) {
  const parts = words.trim().replace(",", ".").split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d+(\.\d+)?$/.test(part))) return NaN;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}
