// What people do: acts, the dialog of a hold, login.

import { button, byId, count, patch } from "./page.js";

const ENDS = { 300: "5 min", 600: "10 min", 900: "15 min", 1800: "30 min", 3600: "1 h", 14400: "4 h", 86400: "1 d", 604800: "7 d" };
const MAX_HOLD_ALL_S = 3600;

/** The buttons for one monitor, or for all if `id` is missing; `post` sends an act. */
export function acts({ session, id, held, notice, scheduled }, post) {
  const act = (name, kind, onclick) =>
    button(name, session.can_act && onclick, {
      class: kind,
      "aria-disabled": !session.can_act && "true",
      "aria-describedby": "why",
    });
  const target = id ? { ids: [id] } : { all: true };
  return [
    "div.acts",
    id
      ? act("Run now", "main", () => post("run-now", { ...target, why: "" }))
      : act("Sync now", null, () => post("sync", {})),
    held
      ? act("Release", null, () => post("release", target))
      : act(id ? "Hold…" : "Hold all…", null, () => askForHold(target, post, scheduled)),
    ["span", { id: "why", role: "status" }, session.can_act ? notice : session.why_not],
  ];
}

function askForHold(target, post, scheduled) {
  const dialog = byId("dialog");
  const ends = Object.entries(ENDS).filter(([seconds]) => !target.all || seconds <= MAX_HOLD_ALL_S);
  const submit = () => post("hold", { ...target, for_s: Number(byId("for").value), why: byId("reason").value });
  const title = target.all ? `Hold all ${count(scheduled)} monitors` : "Hold this monitor";
  patch(dialog, [
    "form",
    { method: "dialog", onsubmit: submit },
    ["h2", { id: "dialog-title" }, title],
    ["p", "No check is handed off until the end; tasks that wait in the queue still run. It can be released earlier."],
    ["label", "For ", ["select", { id: "for" }, ...ends.map(([value, name]) => ["option", { value }, name])]],
    ["label", "Reason ", ["input", { id: "reason", required: true, maxlength: 200, autocomplete: "off" }]],
    ["div.acts", ["button.main", "Hold"], button("Cancel", () => dialog.close())],
  ]);
  byId("for").value = target.all ? 900 : 3600;
  byId("reason").value = "";
  dialog.showModal();
}

/** The form that asks for a token; `submit` gets it. */
export function login(notice, submit) {
  const onsubmit = (event) => {
    event.preventDefault();
    submit(byId("token").value);
  };
  const token = { id: "token", type: "password", required: true, autocomplete: "current-password" };
  return [
    "form.card login",
    { onsubmit },
    ["h1", "Log in"],
    ["label", "Token ", ["input", token]],
    ["button.main", "Log in"],
    ["p.bad", { role: "alert" }, notice],
  ];
}
