// Goes on with a list as its end comes into view: takes the rows out of the next page, and the link to the one after it.
const rows = document.getElementById("rows");
let busy = false;

async function goOn(link) {
  if (busy) return;
  busy = true;
  const text = link.textContent;
  link.textContent = "Loading …";
  try {
    const answer = await fetch(link.href);
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    rows.append(...next.querySelectorAll("#rows > tr"));
    const more = next.querySelector("#more a[rel=next]");
    if (more) link.href = more.getAttribute("href"); else link.closest("#more").remove();
    link.textContent = text;
    busy = false;
    if (more) watch(link);
  } catch {
    link.textContent = "No answer: try again";
    busy = false;
  }
}

function watch(link) {
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    goOn(link);
  }, { rootMargin: "600px" });
  seen.observe(link);
}

const first = document.querySelector("#more a[rel=next]");
if (rows && first) {
  first.addEventListener("click", (event) => { event.preventDefault(); goOn(first); });
  watch(first);
}
