//! What letters say. Each tells why it came and what to do if nobody asked for it, and names nothing of the account but its
//! address.

use std::time::Duration;

use zeroize::Zeroizing;

/// What is sent to one address. No `Debug`: a link in it opens an account.
pub struct Letter {
    pub to: String,
    pub subject: &'static str,
    pub text: Zeroizing<String>,
}

/// A link to this page of the network's site. The token stands behind `#`, which no browser sends to a server, so that it
/// gets into no log.
pub fn link(public_url: &str, page: &str, token: &str) -> Zeroizing<String> {
    let base = public_url.trim_end_matches('/');
    Zeroizing::new(format!("{base}{page}#{token}"))
}

/// For who has forgotten his password.
pub fn reset(to: String, link: &str, token: &str, good_for: Duration) -> Letter {
    let text = format!(
        "Somebody, most likely you, has forgotten the password of your account {to}.\r\n\r\n\
         To set another one, open this link within {}:\r\n\r\n{link}\r\n\r\n\
         It is good once. Programs send the code {token} instead (POST /api/v1/auth/password/reset).\r\n\r\n\
         If it was not you, do nothing: the password stays as it is.\r\n",
        words(good_for)
    );
    Letter {
        to,
        subject: "Set another password",
        text: Zeroizing::new(text),
    }
}

/// For who has opened an account, or changed its address.
pub fn verify(to: String, link: &str, token: &str, good_for: Duration) -> Letter {
    let text = format!(
        "An account was opened with the address {to}.\r\n\r\n\
         To show that the address is yours, open this link within {}:\r\n\r\n{link}\r\n\r\n\
         Programs send the code {token} instead (POST /api/v1/auth/verify).\r\n\r\n\
         If it was not you, do nothing, and you will not hear of it again.\r\n",
        words(good_for)
    );
    Letter {
        to,
        subject: "Is this address yours?",
        text: Zeroizing::new(text),
    }
}

/// After the password, or a second factor, has been changed.
pub fn changed(to: String, what: &str) -> Letter {
    let text = format!(
        "{what} of your account {to} has just been changed, and all its logins have ended.\r\n\r\n\
         If it was not you, set another password now, and ask the network's operator for help.\r\n"
    );
    Letter {
        to,
        subject: "Your account was changed",
        text: Zeroizing::new(text),
    }
}

fn words(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..=1 => "a minute".to_owned(),
        2..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_its_token_where_no_server_sees_it() {
        let link = link("https://storage.example/", "/reset-password", "fsnp_1");
        assert_eq!(&*link, "https://storage.example/reset-password#fsnp_1");
        let letter = reset(
            "a@example.com".to_owned(),
            &link,
            "fsnp_1",
            Duration::from_secs(3600),
        );
        assert!(letter.text.contains(&*link) && letter.text.contains("60 minutes"));
    }

    #[test]
    fn times_are_told_in_words() {
        let words = |seconds| words(Duration::from_secs(seconds));
        assert_eq!(words(90), "a minute");
        assert_eq!(words(3600), "60 minutes");
        assert_eq!(words(86_400), "24 hours");
        assert_eq!(words(7 * 86_400), "7 days");
    }
}
