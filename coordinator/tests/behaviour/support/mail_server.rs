//! A mail server of another make, as far as letters need one: SMTP in the clear, on a real socket.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::soon;

/// What came in.
#[derive(Debug)]
pub(crate) struct Received {
    pub to: String,
    pub from: String,
    /// Head and text, as they came but for their encoding.
    pub content: String,
}

impl Received {
    /// The token that a link in the letter ends with.
    pub(crate) fn token(&self) -> String {
        let link = self.content.split_once('#');
        let (_, rest) = link.unwrap_or_else(|| panic!("no link in {self:?}"));
        rest.split_whitespace().next().unwrap().to_owned()
    }
}

pub(crate) struct MailServer {
    pub address: SocketAddr,
    letters: mpsc::Receiver<Received>,
}

impl MailServer {
    /// `refused` letters are put off before one is taken.
    pub(crate) async fn start(mut refused: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, letters) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let put_off = refused > 0;
                refused = refused.saturating_sub(1);
                if let Some(letter) = converse(stream, put_off).await {
                    let _ = taken.send(letter).await;
                }
            }
        });
        Self { address, letters }
    }

    /// The settings of a coordinator that sends by it.
    pub(crate) fn settings(&self) -> [String; 4] {
        [
            format!("mail.server={}", self.address),
            "mail.security=none".to_owned(),
            "mail.from=Storage <storage@example.net>".to_owned(),
            "http.public_url=http://localhost:8080".to_owned(),
        ]
    }

    pub(crate) async fn letter(&mut self) -> Received {
        soon(self.letters.recv()).await.unwrap()
    }

    /// Whether anything came that nobody has looked at.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.letters.try_recv().is_err()
    }
}

/// One session. `None` when no letter was taken.
async fn converse(stream: TcpStream, put_off: bool) -> Option<Received> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 stand-in ESMTP\r\n").await.ok()?;
    let (mut from, mut to) = (String::new(), String::new());
    while let Some(line) = lines.next_line().await.ok()? {
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        let answer: &[u8] = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => b"250-stand-in\r\n250 8BITMIME\r\n",
            "MAIL" if put_off => b"451 come again\r\n",
            "MAIL" => {
                from = between_brackets(&line);
                b"250 fine\r\n"
            }
            "RCPT" => {
                to = between_brackets(&line);
                b"250 fine\r\n"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await.ok()?;
                let mut content = String::new();
                while let Some(line) = lines.next_line().await.ok()? {
                    if line == "." {
                        break;
                    }
                    // Quoted-printable: lines that were broken are one again.
                    match line.strip_suffix('=') {
                        Some(part) => content.push_str(part),
                        None => {
                            content.push_str(&line);
                            content.push('\n');
                        }
                    }
                }
                write.write_all(b"250 taken\r\n").await.ok()?;
                let content = content.replace("=3D", "=");
                return Some(Received { to, from, content });
            }
            "QUIT" => return None,
            _ => b"250 fine\r\n",
        };
        write.write_all(answer).await.ok()?;
    }
    None
}

fn between_brackets(line: &str) -> String {
    let inner = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(inner, _)| inner.to_owned())
}
