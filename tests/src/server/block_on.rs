//! Blocking on a future.

use std::thread;

/// Runs a future to completion on a thread and a runtime of its own, so that it also works inside
/// another runtime.
pub(crate) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime can be built");
        let output = runtime.block_on(future);
        // A lookup of a host's address cannot be cancelled. The shutdown does not wait for it.
        runtime.shutdown_background();
        output
    };
    let thread = thread::scope(|scope| scope.spawn(run).join());
    thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
