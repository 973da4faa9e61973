// The dialog for the API key.

import { byId } from "./elements.js";

const REASONS = {
  key_missing: "This service requires an API key. Ask the administrator of the service for one.",
  key_unknown: "The service does not know this API key, or it was revoked. Check the key or ask the administrator for a new one.",
};

export class ApiKeyDialog {
  /**
   * Resolves with the key that the user enters.
   *
   * @param {string} message of the service, shown if there is no text for `code`
   * @param {string} code of the service's error
   * @param {string} key in use
   * @throws {Error} the dialog was closed without a key
   */
  ask(message, code, key) {
    const dialog = byId("key");
    const input = byId("key-input");
    byId("key-reason").textContent = `${REASONS[code] ?? message} The page keeps the key until it is closed and sends it to this service only.`;
    input.value = key;
    dialog.returnValue = "";
    if (!dialog.open) dialog.showModal();
    input.select();
    return new Promise((resolve, reject) => {
      const closed = () => {
        if (dialog.returnValue === "use" && input.value.trim()) resolve(input.value.trim());
        else reject(new Error("no API key was entered"));
      };
      dialog.addEventListener("close", closed, { once: true });
    });
  }
}
