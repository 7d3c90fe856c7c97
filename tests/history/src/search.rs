//! Asks `todc-utils` whether there is an order.

use std::cell::Cell;

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use crate::claim::Operation;
use crate::model::Lock;

/// How many steps the search for an order of a segment may take. Histories of locks need a few for
/// each operation.
const MOST_STEPS: u64 = 2_000_000;

/// Whether there is an order; `None` if the search was given up.
pub(crate) fn is_linearizable(operations: &[Operation]) -> Option<bool> {
    let mut lock = Lock::free();
    for segment in segments(operations) {
        let steps = Cell::new(0);
        let specification = Segment {
            lock: &lock,
            steps: &steps,
        };
        let is_linearizable =
            WGLChecker::is_linearizable(specification, History::from_actions(actions(&segment)));
        if !is_linearizable {
            return (steps.get() < MOST_STEPS).then_some(false);
        }
        lock = lock.after_all(segment.iter().copied());
    }
    Some(true)
}

/// The operations, cut wherever none is under way. All of a segment happen before all of the next
/// one, and where the lock is then does not depend on their order: who holds it, and the greatest
/// token. So each segment can be searched for itself.
fn segments(operations: &[Operation]) -> Vec<Vec<&Operation>> {
    let mut sorted: Vec<_> = operations.iter().collect();
    sorted.sort_by_key(|operation| operation.invoked);
    let (mut segments, mut end) = (Vec::<Vec<_>>::new(), 0);
    for operation in sorted {
        match segments.last_mut() {
            Some(segment) if operation.invoked <= end => segment.push(operation),
            _ => segments.push(vec![operation]),
        }
        end = end.max(operation.returned);
    }
    segments
}

/// The operations as `todc-utils` takes them: each in a process of its own, in the order of time.
/// What happens at the same time is concurrent.
fn actions(operations: &[&Operation]) -> Vec<(usize, Action<Operation>)> {
    let mut actions = Vec::new();
    for (index, operation) in operations.iter().copied().enumerate() {
        let call = Action::Call(operation.clone());
        actions.push(((operation.invoked, false), (index, call)));
        let response = Action::Response(operation.clone());
        actions.push(((operation.returned, true), (index, response)));
    }
    actions.sort_by_key(|(time, _)| *time);
    actions.into_iter().map(|(_, action)| action).collect()
}

/// The lock from some state on.
struct Segment<'l> {
    lock: &'l Lock,
    steps: &'l Cell<u64>,
}

impl Specification for Segment<'_> {
    type State = Lock;
    type Operation = Operation;

    fn init(&self) -> Lock {
        self.lock.clone()
    }

    fn apply(&self, operation: &Operation, lock: &Lock) -> (bool, Lock) {
        self.steps.set(self.steps.get() + 1);
        // Nothing is possible any more, so the search ends.
        let may_go_on = self.steps.get() < MOST_STEPS;
        match lock.after(operation).filter(|_| may_go_on) {
            Some(next) => (true, next),
            None => (false, lock.clone()),
        }
    }
}
