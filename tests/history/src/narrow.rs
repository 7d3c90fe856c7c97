//! Narrows the times of operations, so that an order is found soon.
//!
//! Among many clients that wait for long, the search would try many orders. Most times can be
//! narrowed without losing all orders, if there are any:
//!
//! - A holder only keeps others away. So it may as well take the lock as late as possible, when its
//!   grant arrives, and release it as early as possible, when its work has ended.
//! - Tokens grow. So a token is drawn neither before a smaller one was asked for, nor after a
//!   greater one was returned.
//!
//! The verdict does not depend on these reasons. Whatever has an order at narrower times has the
//! same order at the original ones, and whatever has none is searched again at the original ones.

use crate::claim::{Operation, Step};

/// The operations at narrower times.
pub(crate) fn narrowed(operations: &[Operation]) -> Vec<Operation> {
    let mut narrowed = operations.to_vec();
    for operation in &mut narrowed {
        match operation.step {
            Step::Acquire { token: None, .. } if !operation.is_last => {
                operation.invoked = operation.returned;
            }
            Step::Release => operation.returned = operation.invoked,
            Step::Acquire { .. } | Step::Draw(_) => {}
        }
    }
    let mut draws: Vec<_> = narrowed
        .iter_mut()
        .filter(|operation| operation.step.token().is_some())
        .collect();
    draws.sort_by_key(|operation| operation.step.token());
    let mut earliest = 0;
    for draw in &mut draws {
        earliest = earliest.max(draw.invoked);
        // If no time is left, there is no order.
        draw.invoked = earliest.min(draw.returned);
    }
    let mut latest = u64::MAX;
    for draw in draws.iter_mut().rev() {
        latest = latest.min(draw.returned);
        draw.returned = latest.max(draw.invoked);
    }
    narrowed
}
