use advisory_core::advisory;

#[advisory(key = "job")]
pub struct Job;

#[advisory(key = "job")]
impl Job {
    async fn run(&self) {}
}

#[advisory(key = "job")]
trait Run {
    async fn run(&self);
}

fn main() {
    let _ = Job;
}
