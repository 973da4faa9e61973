import { BY_NAME } from "./classes.js";
export function modern(result) {
  if (result.error || result.class_id) return result;
  const probabilities = Object.fromEntries(Object.entries(result.probabilities).map(([name, value]) => [BY_NAME.get(name), value]));
  const class_id = BY_NAME.get(result.predicted_class);
  const codes = { low_probability: "low_confidence" };
  return { ...result, class_id, confidence: probabilities[class_id], probabilities, review: result.review.map((one) => ({ ...one, code: codes[one.code] ?? one.code })) };
}
