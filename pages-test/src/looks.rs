//! How a page looks, and whether everybody can use it: pictures by day and night, wide and narrow, and the rules that a screen
//! reader, a keyboard and weak eyes need kept. The rules are of <https://www.w3.org/TR/WCAG22/>.

use anyhow::{Result, ensure};

use crate::browser::Browser;

/// What is wrong with the page, in words. Contrast is that of a text's colour on the nearest background that is not clear.
const RULES: &str = r#"
const wrong = [];
const seen = (element) => element.checkVisibility({ checkVisibilityCSS: true, contentVisibilityAuto: true });
const name = (element) => element.outerHTML.slice(0, 120);
if (!document.documentElement.lang) wrong.push("no language");
if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
if (!document.title) wrong.push("no title");
if (!document.querySelector("main")) wrong.push("no main");
for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
  if (seen(field) && !field.labels?.length && !field.getAttribute("aria-label")) wrong.push("no label: " + name(field));
}
for (const control of document.querySelectorAll("a[href], button")) {
  const text = control.getAttribute("aria-label") || control.textContent.trim();
  if (seen(control) && !text) wrong.push("no name: " + name(control));
  const box = control.getBoundingClientRect();
  if (seen(control) && control.tagName === "BUTTON" && box.height < 24) wrong.push("too small: " + name(control));
}
for (const image of document.querySelectorAll("img, svg[role=img], video, audio")) {
  if (!image.getAttribute("alt") && !image.getAttribute("aria-label")) wrong.push("no text: " + name(image));
}
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("twice: #" + id);
for (const part of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
  for (const id of (part.getAttribute("aria-labelledby") ?? part.getAttribute("aria-describedby")).split(" ")) {
    if (!document.getElementById(id)) wrong.push("names nothing: " + id);
  }
}
if (document.documentElement.scrollWidth > innerWidth + 1) {
  const wide = [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, pre"));
  wrong.push("wider than the window: " + document.documentElement.scrollWidth + " " + (wide[0] ? name(wide[0]) : ""));
}
const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] > 0.99) return colour;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !seen(element) || element.closest("svg, noscript, :disabled, .skip")) continue;
  const [one, other] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) wrong.push("contrast " + contrast.toFixed(2) + ": " + name(element));
}
return wrong;
"#;

/// Pictures of the page that is open, in four ways, each looked through.
pub(crate) async fn look(browser: &Browser, page: &str) -> Result<()> {
    for (narrow, width) in [(false, "wide"), (true, "narrow")] {
        for (dark, time) in [(false, "light"), (true, "dark")] {
            browser.width(narrow).await?;
            browser.night(dark).await?;
            let wrong = browser.run(RULES, Vec::new()).await?;
            browser.picture(&format!("{page}-{width}-{time}")).await?;
            let none = wrong.as_array().is_some_and(Vec::is_empty);
            ensure!(none, "{page}, {width}, {time}: {wrong:#}");
        }
    }
    browser.width(false).await?;
    browser.night(false).await?;
    browser.expect_no_complaints().await
}

/// Tab by tab: each step is to be seen, and no trap is stepped into.
pub(crate) async fn keyboard(browser: &Browser, steps: usize) -> Result<()> {
    let script = "const focused = document.activeElement; const style = getComputedStyle(focused);
                  return focused === document.body || style.outlineStyle !== 'none'";
    let mut reached = Vec::new();
    for _ in 0..steps {
        browser.press_tab().await?;
        let shown = browser.run(script, Vec::new()).await?;
        ensure!(
            shown.as_bool() == Some(true),
            "the focus is not to be seen after {reached:?}"
        );
        let name = browser
            .run(
                "return document.activeElement.textContent.trim().slice(0, 20)",
                Vec::new(),
            )
            .await?;
        reached.push(name.to_string());
    }
    reached.dedup();
    ensure!(
        reached.len() > steps / 2,
        "the keyboard reaches only {reached:?}"
    );
    Ok(())
}
