use crate::Bench;
use crate::report::Report;
pub(crate) async fn run(_bench: &Bench) -> Report {
    Report::default()
}
