// Numbers and counts in words.

/** With a space that does not break. */
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;

/** 0.97 as "97 %"; "< 1 %" or "> 99 %" for what would round to 0 or 100. */
export function probability(value) {
  if (value > 0 && value < 0.005) return "<\u00a01\u00a0%";
  if (value < 1 && value >= 0.995) return ">\u00a099\u00a0%";
  return percent(value);
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** A point in time, in the user's time zone. */
export const moment = (at) => new Date(at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
