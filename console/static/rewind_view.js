// The rewind of partitions: the dialog with its plan, and the running or the last rewind.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { count, plural } from "./format.js";
import { toast } from "./toast.js";

const COLUMNS = ["Old checkpoint", "Restart at", "Events to repeat"];
const STAGES = {
  "": "begins",
  stop: "waits until the app is stopped",
  expire: "waits until the app's ownership has expired",
  act: "moves the checkpoints",
  start: "starts the app",
};

/** Update the button, the dialog's facts and the line about the rewind whenever the model changes. */
export function showRewind({ model, api }) {
  const dialog = byId("rewind-dialog");
  const nodes = Object.fromEntries(
    ["form", "partition", "number", "plan", "rows", "warnings", "what", "refused", "cancel", "show", "go"].map(
      (name) => [name, byId(`rewind-${name}`)],
    ),
  );
  const button = byId("rewind");
  const hint = byId("rewind-hint");
  const line = byId("rewind-job");
  let plan = null; // the plan on show, with its target
  let round = 0;

  const render = oncePerFrame(() => {
    const job = model.rewind;
    setText(line, job ? textOf(job) : "No rewind is running.");
    setAttribute(line, "data-running", job && !job.done);
    setAttribute(line, "data-trouble", job && job.failed);
    const refusal = refusalOf(model);
    setAttribute(button, "disabled", Boolean(refusal));
    setText(hint, refusal);
    setAttribute(hint, "hidden", !refusal);
  });

  function open() {
    const partitions = model.partitions?.rows?.map((row) => row.partition) ?? [];
    nodes.partition.replaceChildren(
      el("option", { value: "" }, "All partitions"),
      ...partitions.map((partition) => el("option", { value: partition }, `Partition ${partition}`)),
    );
    nodes.form.reset();
    change();
    dialog.showModal();
    nodes.partition.focus();
  }

  /** Remove the plan after each change of the target. */
  function change() {
    round += 1;
    plan = null;
    const single = Boolean(nodes.partition.value);
    const at = nodes.form.elements.to.value;
    const number = nodes.form.querySelector("[value='number']");
    setAttribute(number, "disabled", !single);
    if (at === "number" && !single) nodes.form.querySelector("[value='start']").checked = true;
    setAttribute(nodes.number, "disabled", nodes.form.elements.to.value !== "number");
    nodes.number.required = nodes.form.elements.to.value === "number";
    setText(nodes.refused, "");
    setAttribute(nodes.show, "disabled", false);
    fill();
  }

  function target() {
    const to = nodes.form.elements.to.value;
    return {
      partition: nodes.partition.value || null,
      to: to === "number" ? Number(nodes.number.value) : to,
    };
  }

  function fill() {
    setAttribute(nodes.plan, "hidden", !plan);
    setAttribute(nodes.go, "hidden", !plan);
    setAttribute(nodes.show, "hidden", Boolean(plan));
    if (!plan) return;
    fillRows(nodes.rows, plan.partitions, makeRow, (row, step) => {
      [step.partition, count(step.old_checkpoint), count(step.restart_at), count(step.events)].forEach(
        (text, index) => setText(row.children[index], text),
      );
    });
    const warnings = plan.partitions.flatMap(({ partition, warnings: found }) =>
      found.map(({ text }) => `Partition ${partition}: ${text}.`),
    );
    const ofHub = plan.warnings.map(({ text }) => `${text}.`);
    const left = plan.left_out.map(({ partition, reason }) => `Partition ${partition} is left as it is: ${reason}.`);
    fillRows(nodes.warnings, [...ofHub, ...warnings, ...left], () => el("li"), setText);
    const number = plan.partitions.reduce((sum, { events }) => sum + events, 0);
    const stopped = model.appNow?.state?.toLowerCase() === "stopped";
    const all = model.allPipelines ? ` and so all pipelines (${model.allPipelines})` : "";
    const after = stopped
      ? "The app is stopped, and stays stopped."
      : `The rewind stops the app${all}, which may take minutes, and starts it again.`;
    setText(nodes.what, `${after} Then the handler gets ${plural(number, "event")} again, also events that the handler has finished.`);
    setText(nodes.go, stopped ? "Rewind" : "Stop, rewind and start");
  }

  async function submit(event) {
    event.preventDefault();
    setText(nodes.refused, "");
    const own = round;
    const asked = plan ? nodes.go : nodes.show;
    setAttribute(asked, "disabled", true);
    try {
      if (plan) {
        await api.post("/api/rewind", { ...plan.target, plan: plan.partitions });
        dialog.close();
        toast("The rewind has started.");
      } else {
        const wanted = target();
        const found = await api.post("/api/rewind/plan", wanted);
        if (own !== round) return;
        plan = { ...found, target: wanted };
        fill();
        nodes.cancel.focus();
      }
    } catch (error) {
      if (own === round) setText(nodes.refused, error.status ? `Refused: ${error.message}.` : `${error.message}.`);
    } finally {
      setAttribute(asked, "disabled", false);
    }
  }

  button.addEventListener("click", open);
  nodes.cancel.addEventListener("click", () => dialog.close());
  nodes.form.addEventListener("input", change);
  nodes.form.addEventListener("submit", submit);
  // Holding Enter down on the button that opens the dialog must not confirm the plan.
  dialog.addEventListener("keydown", (event) => {
    if (event.repeat && event.key === "Enter") event.preventDefault();
  });
  dialog.addEventListener("close", () => button.focus({ preventScroll: true }));
  for (const topic of ["rewind", "app", "partitions"]) model.addEventListener(topic, render);
  render();
}

function makeRow() {
  const cells = COLUMNS.map((label) => el("td", { class: "number", "data-label": label }));
  return el("tr", {}, el("th", { scope: "row", "data-label": "Partition" }), ...cells);
}

/** Return why no rewind can start now, or "". */
function refusalOf(model) {
  if (model.rewind && !model.rewind.done) return "a rewind is running";
  if (model.app && !model.app.configured) return "FUNCTION_APP_URL is not set, so the app cannot be stopped here";
  return "";
}

function textOf(job) {
  if (job.done) return `Rewind of ${job.text} by ${job.by}: ${job.lines.join(" ")}`;
  const time = job.most ? ` (${count(job.seconds)} of at most ${plural(job.most, "second")})` : "";
  const last = job.lines.length ? ` ${job.lines.join(" ")}` : "";
  return `Rewind of ${job.text} by ${job.by} ${STAGES[job.stage] ?? job.stage}${time}.${last}`;
}
