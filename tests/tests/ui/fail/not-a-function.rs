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

#[advisory(key = "job")]
const JOB: u8 = 1;

fn main() {
    let _ = (Job, JOB);
}
