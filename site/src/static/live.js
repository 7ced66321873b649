// Keeps the figures of the first page up to date. It asks every five seconds while somebody looks, and less and less often while
// nothing is answered; what is asked for is the same for everybody and kept by the server.
const live = document.getElementById("live");
const pulse = document.getElementById("pulse");
const told = document.getElementById("pulse-text");
const EVERY = 5000;
const LONGEST = 60000;
let pause = EVERY;
let timer = 0;

async function look() {
  clearTimeout(timer);
  if (document.hidden) return; // until it is looked at again
  try {
    const answer = await fetch(live.dataset.from, { signal: AbortSignal.timeout(15000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html").body.firstElementChild;
    live.replaceChildren(...parsed.childNodes);
    told.textContent = "as of " + parsed.dataset.at;
    pulse.classList.remove("off");
    pause = EVERY;
  } catch {
    pulse.classList.add("off");
    told.textContent = "no answer: these figures are older. Trying again";
    pause = Math.min(2 * pause, LONGEST);
  }
  timer = setTimeout(look, pause);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
timer = setTimeout(look, EVERY);
