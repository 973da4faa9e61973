// The 20 cell classes in the order of a differential, as contract/classes.py defines them, and the key of each.

const TABLE = [
  ["segmented-neutrophil", "Segmented neutrophil", true, "s"],
  ["band-neutrophil", "Band neutrophil", true, "n"],
  ["eosinophil", "Eosinophil", true, "e"],
  ["basophil", "Basophil", true, "b"],
  ["lymphocyte", "Lymphocyte", true, "l"],
  ["reactive-lymphocyte", "Reactive lymphocyte", true, "r"],
  ["abnormal-lymphocyte", "Abnormal lymphocyte", true, "a"],
  ["hairy-cell", "Hairy cell", true, "h"],
  ["plasma-cell", "Plasma cell", true, "p"],
  ["monocyte", "Monocyte", true, "m"],
  ["metamyelocyte", "Metamyelocyte", true, "t"],
  ["myelocyte", "Myelocyte", true, "y"],
  ["promyelocyte", "Promyelocyte", true, "o"],
  ["blast", "Blast (no lineage spec)", true, "k"],
  ["erythroblast", "Erythroblast (NRBC)", false, "c"],
  ["smudge-cell", "Smudge cell", false, "d"],
  ["artefact", "Artefact", false, "f"],
  ["giant-thrombocyte", "Giant thrombocyte", false, "i"],
  ["large-thrombocyte", "Large thrombocyte", false, "g"],
  ["thrombocyte-aggregation", "Thrombocyte aggregation", false, "q"],
];

/** `white`: the class counts towards the 100 white cells of a differential. */
export const CLASSES = TABLE.map(([id, name, white, key]) => ({ id, name, white, key }));
export const HAIRY = "hairy-cell";
/** The place of a cell that nobody has named yet; not a class. */
export const UNIDENTIFIED = "unidentified";
/** Where a cell can be put. */
export const PLACES = [...CLASSES, { id: UNIDENTIFIED, name: "Unidentified", white: false, key: "u" }];

const BY_ID = new Map(PLACES.map((one) => [one.id, one]));
const BY_KEY = new Map(PLACES.map((one) => [one.key, one.id]));
export const nameOf = (id) => BY_ID.get(id)?.name ?? id;
export const keyOf = (id) => BY_ID.get(id)?.key;
/** The place of a key, `undefined` if the key has none. */
export const placeOf = (key) => BY_KEY.get(key.toLowerCase());
