//! How fast chunks are sealed on this machine, without building anything but this crate:
//! `cargo run --release -p fsn-sealing --example seal_speed --features comparison [rounds]`.

#[cfg(feature = "comparison")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(300), |rounds| rounds.parse())?;
    print!("{}", sealing::comparison::Comparison::run(rounds)?);
    Ok(())
}

#[cfg(not(feature = "comparison"))]
fn main() {
    eprintln!("This needs both libraries: --features comparison");
}
