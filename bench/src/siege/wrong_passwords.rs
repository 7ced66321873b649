//! Logins as somebody else with passwords that are wrong, so that he is told that there were too many.

use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;

use super::outsider::Outsider;
use super::tally::Tally;

const AT_ONCE: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    let guessers = (0..AT_ONCE).map(|guesser| async move {
        for guess in 0_u64.. {
            let password = format!("guess {guesser} {guess}");
            let login = outsider.client.login(&outsider.honest_email, &password);
            match login.await {
                Ok(_) => tally.broken("a wrong password was taken"),
                refused => tally.note_outcome("login", &refused),
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    join_all(guessers).await;
    Ok(())
}
