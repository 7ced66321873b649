//! A browser without a screen: it keeps its cookies, says where it is, and reads pages as text.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::{Answer, Client, Coordinator};

pub(super) const HOST: &str = "storage.example";
pub(super) const HERE: (&str, &str) = ("sec-fetch-site", "same-origin");
pub(super) const PASSWORD: &str = "violet anchor 72 cloud";

/// A browser: keeps its cookies, and says where it is.
pub(super) struct Browser {
    pub(super) client: Client,
    pub(super) cookie: Option<String>,
}

impl Browser {
    pub(super) fn new(coordinator: &Coordinator) -> Self {
        Self {
            client: coordinator.visitor(),
            cookie: None,
        }
    }

    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut call = self.client.call(method, path).header("host", HOST);
        call = call.header("accept", "text/html,*/*;q=0.8");
        if let Some(cookie) = &self.cookie {
            call = call.header("cookie", cookie);
        }
        if !body.is_empty() {
            call = call.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.body(body.to_owned()).send().await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[HERE], "").await
    }

    pub(super) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {:?}", answer.body);
        text(&answer)
    }

    pub(super) async fn submit(&self, path: &str, form: &str) -> Answer {
        self.ask(Method::POST, path, &[HERE], form).await
    }

    /// Takes what a login sets.
    pub(super) async fn sign_in(&mut self, path: &str, form: &str) -> Answer {
        let answer = self.submit(path, form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", text(&answer));
        let cookie = answer.header("set-cookie");
        self.cookie = cookie.split(';').next().map(str::to_owned);
        answer
    }

    pub(super) async fn sign_up(coordinator: &Coordinator, email: &str) -> Self {
        let mut browser = Self::new(coordinator);
        let form = format!("email={email}&password={}", PASSWORD.replace(' ', "+"));
        browser.sign_in("/sign-up", &form).await;
        browser
    }

    /// Asks the API as a script of a page does.
    pub(super) async fn fetch(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        answer.expect(StatusCode::OK)
    }
}

pub(super) fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes().to_vec()).unwrap()
}
