// Asks the browser for a passkey as a form says, puts the answer into the form, and sends it.
// https://www.w3.org/TR/webauthn-3/
"use strict";
(() => {
  const GOOD_FOR = 9 * 60 * 1000; // the server takes no answer after ten minutes
  const opened = Date.now();

  const toBytes = text =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), character => character.charCodeAt(0));
  const toText = buffer =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const withBytes = list => list.map(each => ({ ...each, id: toBytes(each.id) }));

  const create = options => navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: toBytes(options.challenge),
      user: { ...options.user, id: toBytes(options.user.id) },
      excludeCredentials: withBytes(options.excludeCredentials),
    },
  });
  const get = options => navigator.credentials.get({
    publicKey: { ...options, challenge: toBytes(options.challenge), allowCredentials: withBytes(options.allowCredentials) },
  });

  const answerOf = ({ id, rawId, type, response }) => {
    const said = { clientDataJSON: toText(response.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (response[name]) said[name] = toText(response[name]);
    }
    return JSON.stringify({ id, rawId: toText(rawId), type, response: said, clientExtensionResults: {} });
  };

  const REASONS = {
    InvalidStateError: "This device has a passkey for the console already.",
    NotAllowedError: "No passkey was used: it was cancelled, or took too long.",
    NotSupportedError: "This device cannot make such passkeys.",
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const fault = form.querySelector("[role=alert]");
    if (!window.PublicKeyCredential || location.origin !== form.dataset.origin) continue;
    form.hidden = false;
    for (const instead of document.querySelectorAll("[data-without-passkeys]")) instead.hidden = true;
    form.addEventListener("submit", async event => {
      event.preventDefault();
      if (form.dataset.passkey === "get" && Date.now() - opened > GOOD_FOR) {
        location.reload();
        return;
      }
      fault.hidden = true;
      try {
        const options = JSON.parse(form.dataset.options);
        const credential = await (form.dataset.passkey === "create" ? create(options) : get(options));
        form.elements.answer.value = answerOf(credential);
        HTMLFormElement.prototype.submit.call(form);
      } catch (error) {
        fault.textContent = REASONS[error.name] || "The browser could not do that.";
        fault.hidden = false;
      }
    });
  }
})();
