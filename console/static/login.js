// Sign-in: sends the token once; the session cookie is not readable for scripts.

// The link of a mail or an alert, such as "?circuit=NAME&generation=N", leads back to the page.
const page = `/${location.search}`;

// A browser sends the session's cookie only from pages of the console, so an operator who is signed
// in and follows a link from elsewhere arrives here.
if (location.search) {
  fetch("/api/session", { credentials: "same-origin" })
    .then((answer) => (answer.ok ? location.replace(page) : null))
    .catch(() => null);
}

const form = document.getElementById("login");
const problem = document.getElementById("problem");
const button = form.querySelector("button");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  problem.textContent = "";
  const { name, token } = Object.fromEntries(new FormData(form));
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ name: name.trim(), token: token.trim() }),
      credentials: "same-origin",
    });
    if (answer.ok) {
      location.assign(page);
      return;
    }
    const refusal = await answer.json().catch(() => null);
    problem.textContent = refusal?.error ?? `The console answered ${answer.status}.`;
  } catch {
    problem.textContent = "The console does not answer.";
  }
  button.disabled = false;
});
