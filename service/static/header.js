// The header: name and card of the model, light or dark.

import { h } from "./elements.js";
import { modelCard } from "./model_card.js";

/** Load the model's description and show it; `undefined` if it cannot be loaded. */
export async function showModel(service, name, button, dialog) {
  let model;
  try {
    ({ body: model } = await service.ask("model"));
  } catch (error) {
    name.textContent = `Cannot load the model: ${error.message}`;
    return undefined;
  }
  name.textContent = `${model.name} ${model.version}, ${model.precision}`;
  button.disabled = false;
  button.addEventListener("click", () => {
    dialog.replaceChildren(modelCard(model, () => dialog.close()));
    dialog.showModal();
  });
  const hairy = model.classes.find((entry) => entry.name === "Hairy cell").evidence;
  if (hairy === "none") name.append(" · does not flag hairy cells");
  else if (hairy !== "real") name.append(" · ", h("strong", { class: "warning" }, "This bundle has never seen a real hairy cell"));
  return model;
}

/** A button that switches between light and dark; the system's choice holds until it is used. */
export function showThemeButton(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const show = () => button.setAttribute("aria-pressed", isDark());
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  dark.addEventListener("change", show);
  show();
}
