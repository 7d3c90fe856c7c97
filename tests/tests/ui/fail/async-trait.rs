use std::pin::Pin;

use advisory_core::{Error, advisory};
use sqlx::PgPool;

struct Job;

// What `#[async_trait]` makes of `async fn run(&self, pool: &PgPool) -> Result<(), Error>`.
impl Job {
    #[advisory(key = "run")]
    fn run<'a, 'b, 'c>(
        &'a self,
        pool: &'b PgPool,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            let _ = (self, pool);
            Ok(())
        })
    }
}

fn main() {
    let _ = Job::run;
}
