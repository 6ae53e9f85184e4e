// Sign-in: sends the token once; the session cookie is not readable for scripts.

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
      location.assign("/");
      return;
    }
    const refusal = await answer.json().catch(() => null);
    problem.textContent = refusal?.error ?? `The console answered ${answer.status}.`;
  } catch {
    problem.textContent = "The console does not answer.";
  }
  button.disabled = false;
});
