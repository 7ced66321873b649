//! The frame that each page stands in, and what pages are made of.

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

/// A way to another page.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub path: &'static str,
    pub name: &'static str,
}

/// A whole page.
pub struct Frame<'a> {
    pub title: &'a str,
    /// What stands above all pages, and leads to the first one.
    pub brand: &'a str,
    pub style: &'a str,
    /// Modules that the page runs; it works without them.
    pub scripts: &'a [&'a str],
    pub entries: &'a [Entry],
    /// The path that the page belongs to, among those of `entries`.
    pub here: &'a str,
    /// At the end of the row: who is signed in.
    pub aside: Markup,
    pub content: Markup,
    pub foot: Markup,
}

impl Render for Frame<'_> {
    fn render(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · " (self.brand) }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href=(self.style);
                    @for script in self.scripts { script type="module" src=(script) {} }
                }
                body {
                    a.skip href="#content" { "To the content" }
                    header.top {
                        a.brand href="/" { (mark()) span { (self.brand) } }
                        @if !self.entries.is_empty() {
                            nav aria-label="Pages" {
                                @for entry in self.entries {
                                    a href=(entry.path) aria-current=[(entry.path == self.here).then_some("page")] {
                                        (entry.name)
                                    }
                                }
                            }
                        }
                        div.aside { (self.aside) }
                    }
                    main id="content" tabindex="-1" { (self.content) }
                    footer { (self.foot) }
                }
            }
        }
    }
}

/// Three copies of one thing, apart from each other.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" aria-hidden="true" {
            path d="M12 7 6 17M12 7l6 10M6 17h12" {}
            circle cx="12" cy="6" r="3.5" {}
            circle cx="5.5" cy="17.5" r="3.5" {}
            circle cx="18.5" cy="17.5" r="3.5" {}
        }
    }
}

/// A figure with what it is of.
pub struct Tile<'a> {
    pub name: &'a str,
    pub value: String,
    /// What the value is made of, or means.
    pub note: Markup,
}

pub fn tile(tile: &Tile<'_>) -> Markup {
    html! { div.tile { dt { (tile.name) } dd.figure { (tile.value) } dd.quiet { (tile.note) } } }
}

/// What has just happened, or what is wrong. Read out when it appears.
pub fn notice(is_bad: bool, text: impl Render) -> Markup {
    html! {
        p.notice.bad[is_bad] role=(if is_bad { "alert" } else { "status" }) {
            span.sign aria-hidden="true" { (PreEscaped(if is_bad { "!" } else { "✓" })) }
            span { (text) }
        }
    }
}

/// A row of a list of facts.
pub fn fact(name: &str, value: impl Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_named_stays_text() {
        let evil = "<script>alert(1)</script>";
        let page = Frame {
            title: evil,
            brand: evil,
            style: "/style.css",
            scripts: &["/a.js"],
            entries: &[],
            here: "",
            aside: html! {},
            content: notice(true, evil),
            foot: html! { (fact("name", evil)) },
        };
        let page = page.render().into_string();
        assert!(!page.contains("<script>alert"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 5, "{page}");
        assert!(!page.contains(" style=") && !page.contains(" onclick="));
    }
}
