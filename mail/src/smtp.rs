//! The way to a mail server: SMTP with STARTTLS or inside of TLS, or in the clear to a server on the same machine.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use zeroize::Zeroizing;

use crate::Letter;

/// How often a server that does not take a letter now is tried.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// How the way to a server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The connection begins in the clear and goes on in TLS, or not at all.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// In the clear.
    Plain,
}

/// A mail server, and who sends by it. No `Debug`: it holds a password.
pub struct Server {
    pub host: String,
    pub port: u16,
    pub transport: Transport,
    /// Name and password.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// The sender's address, with or without a name: `Storage <storage@example.com>`.
    pub from: String,
    /// How long one command may take.
    pub timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("`{0}` is no sender, like \"Storage <storage@example.com>\"")]
    Sender(String),
    #[error("no TLS with the mail server {0}")]
    Tls(String, #[source] lettre::transport::smtp::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the letter has no form that mail can have")]
    Letter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Asking again will not help.
    #[error("the mail server refuses the letter")]
    Refused(#[source] lettre::transport::smtp::Error),
    #[error("the mail server does not take the letter now")]
    NotNow(#[source] lettre::transport::smtp::Error),
}

/// Sends letters by one server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Connects to nobody yet.
    pub fn new(server: Server) -> Result<Self, SettingsError> {
        let from = server.from.parse();
        let from = from.map_err(|_| SettingsError::Sender(server.from))?;
        let parameters = || {
            TlsParameters::new(server.host.clone())
                .map_err(|error| SettingsError::Tls(server.host.clone(), error))
        };
        let tls = match server.transport {
            Transport::StartTls => Tls::Required(parameters()?),
            Transport::Tls => Tls::Wrapper(parameters()?),
            Transport::Plain => Tls::None,
        };
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.as_str())
                .port(server.port)
                .tls(tls)
                .timeout(Some(server.timeout));
        if let Some((name, password)) = server.credentials {
            transport = transport.credentials(Credentials::new(name, password.to_string()));
        }
        Ok(Self {
            transport: transport.build(),
            from,
        })
    }

    /// Sends a letter, and tries again after a moment where the server does not take it now.
    pub async fn deliver(&self, letter: &Letter) -> Result<(), SendError> {
        for _ in 1..TRIES {
            match self.send(letter).await {
                Err(SendError::NotNow(_)) => tokio::time::sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
        self.send(letter).await
    }

    /// Returns once the server has taken it.
    async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        let message = self.message(letter).map_err(SendError::Letter)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(SendError::Refused(error)),
            Err(error) => Err(SendError::NotNow(error)),
        }
    }

    fn message(
        &self,
        letter: &Letter,
    ) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, letter.to.parse()?))
            .subject(letter.subject)
            .header(ContentType::TEXT_PLAIN)
            // No answer of a machine to a machine.
            .raw_header(auto_submitted())
            .body(letter.text.to_string())?;
        Ok(message)
    }
}

fn auto_submitted() -> lettre::message::header::HeaderValue {
    use lettre::message::header::{HeaderName, HeaderValue};
    HeaderValue::new(
        HeaderName::new_from_ascii_str("Auto-Submitted"),
        "auto-generated".to_owned(),
    )
}
