//! A tour of the examples, drawn: one lane for each worker, time to the right, without and with the
//! lock.
//!
//! Every scene runs the functions of one example (`scene/webhook.rs` those of `../webhook.rs`, and
//! so on) on a private server, checks what has become of the data, and shows who waited, who held
//! the lock, who failed and who was skipped. The times are measured: the library reports every
//! acquire as a `tracing` span, and `witness.rs` listens.
//!
//! ```text
//! cargo run --example demo
//! ```

mod chart;
mod lane;
mod palette;
mod scene;
mod witness;

use std::time::Instant;

use crate::chart::Chart;
use crate::palette::Palette;
use crate::scene::Scene;
use crate::witness::Witness;

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let started = Instant::now();
    Witness::install();
    let chart = Chart::new(Palette::of_stdout());
    println!("{}", chart.legend());
    let mut number = 0;
    let mut show = |scene: Scene| {
        number += 1;
        print!("{}", chart.scene(number, &scene));
    };
    show(scene::webhook::play().await?);
    show(scene::deadlock::play().await?);
    show(scene::transfer::play().await?);
    show(scene::singleton_job::play().await?);
    show(scene::readers_writer::play().await?);
    let seconds = started.elapsed().as_secs_f64();
    println!("\n{number} scenes in {seconds:.1} s, and all of them ended as promised.");
    println!("Each is an example of its own: cargo run --example webhook, deadlock, transfer,");
    println!("singleton_job, readers_writer; coming from Django: migrating_from_pglock.");
    Ok(())
}
