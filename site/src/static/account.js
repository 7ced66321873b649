// The token stands behind "#", which no browser sends to a server; it goes into the body of the one request.
const token = location.hash.slice(1);
const told = document.getElementById("told");
const page = location.pathname === "/verify-address" ? "verify" : "reset";
const form = document.getElementById(page);
const say = (text) => { told.textContent = text; };

if (token === "") {
  say("This link is not whole: open it as it stands in the letter.");
} else {
  form.hidden = false;
  history.replaceState(null, "", location.pathname); // not into the history of a browser that others use
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const path = page === "verify" ? "/api/v1/auth/verify" : "/api/v1/auth/password/reset";
  const body = page === "verify" ? { token } : { token, new_password: document.getElementById("password").value };
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (answer.ok) {
      form.hidden = true;
      say(page === "verify" ? "Thank you: your address is verified." : "Done: log in with the new password.");
    } else {
      say((await answer.json()).detail);
    }
  } catch {
    say("The network does not answer. Try again.");
  }
});
