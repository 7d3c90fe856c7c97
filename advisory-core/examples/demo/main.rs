//! Runs the examples without and with the lock, and draws a chart of each run: one row for each
//! worker, time to the right.
//!
//! Every scenario runs the functions of one example (`scenario/webhook.rs` those of
//! `../webhook.rs`, and so on) on a private server and checks the resulting data. The chart shows
//! which workers waited, held the lock, failed or were skipped. The times are measured: the library
//! opens a `tracing` span for every acquire, and `layer.rs` records these spans.
//!
//! ```text
//! cargo run --example demo
//! ```

mod chart;
mod layer;
mod palette;
mod scenario;
mod timeline;

use std::time::Instant;

use crate::chart::Chart;
use crate::layer::AcquireLayer;
use crate::palette::Palette;
use crate::scenario::Scenario;

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let started = Instant::now();
    AcquireLayer::install();
    let chart = Chart::new(Palette::of_stdout());
    println!("{}", chart.legend());
    let mut number = 0;
    let mut show = |scenario: Scenario| {
        number += 1;
        print!("{}", chart.scenario(number, &scenario));
    };
    show(scenario::webhook::run().await?);
    show(scenario::deadlock::run().await?);
    show(scenario::transfer::run().await?);
    show(scenario::singleton_job::run().await?);
    show(scenario::readers_writer::run().await?);
    let seconds = started.elapsed().as_secs_f64();
    println!("\n{number} scenarios in {seconds:.1} s, and every check passed.");
    println!("Each scenario uses one example, which also runs alone, for instance with");
    println!("`cargo run --example webhook`; the others are deadlock, transfer, singleton_job and");
    println!("readers_writer. For users of django-pglock there is migrating_from_pglock.");
    Ok(())
}
