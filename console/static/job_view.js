// The running redrive, or the result of the last redrive: operator, selection and progress.

import { byId, oncePerFrame, setAttribute, setText } from "./dom.js";
import { count, plural } from "./format.js";

/** Show the redrive's progress; call `changed` after the redrive, which has changed the queue. */
export function showJob({ model, changed }) {
  const line = byId("job");
  const render = oncePerFrame(() => {
    const job = model.redrive;
    const others = elsewhere(model);
    const isShown = job && (!job.done || !others.length);
    const texts = [...others, ...(isShown ? [textOf(job)] : [])];
    setText(line, texts.length ? texts.join(" ") : "No redrive is running.");
    setAttribute(line, "data-running", Boolean(others.length) || (job && !job.done));
    setAttribute(line, "data-trouble", isShown && Boolean(job.stopped || job.failed));
  });
  render();
  model.addEventListener("partitions", render);
  model.addEventListener("redrive", () => {
    render();
    if (model.redrive?.done) changed();
  });
}

/** Return one sentence for each redrive that runs outside the console. */
function elsewhere({ partitions }) {
  return (partitions?.redrives ?? []).filter(({ where }) => where !== "console").map(({ line }) => `${line}.`);
}

function textOf(job) {
  if (job.reason) return discardText(job);
  const lost = job.lost ? ` (${count(job.lost)} because the body is lost)` : "";
  const parts = [`${count(job.replayed)} handled`, `${count(job.failed)} failed again${lost}`];
  if (job.left) parts.push(`${count(job.left)} left`);
  if (job.deferred) parts.push(`${plural(job.deferred, "deferred key")} left alone`);
  if (job.other_apps) parts.push(job.other_apps);
  if (job.stopped) parts.push(`stopped: ${job.stopped}`);
  return `Redrive of ${selected(job.selection)} by ${job.by} ${job.done ? "has ended" : "is running"}: ${parts.join(", ")}.`;
}

function discardText(job) {
  const what = selected(job.selection);
  if (!job.done) return `${job.by} is discarding ${what} (“${job.reason}”).`;
  const behind = [job.replayed && `${count(job.replayed)} handled`, job.failed && `${count(job.failed)} failed again`, job.left && `${count(job.left)} left`];
  const rest = behind.filter(Boolean).join(", ");
  const verdict = job.discarded ? `${job.by} has discarded ${what} (“${job.reason}”)` : `Not discarded: ${what}`;
  const lost = job.discarded && job.body_lost && "the record has no body, because the body was lost";
  return [verdict, lost, rest && `events behind it: ${rest}`, job.stopped && `stopped: ${job.stopped}`].filter(Boolean).join("; ") + ".";
}

function selected(selection) {
  if (selection?.key !== undefined && selection.key !== null) return `key ${selection.key}`;
  return selection?.id ? `event ${selection.id}` : "everything";
}
