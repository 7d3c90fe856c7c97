//! Asks `todc-utils` whether there is an order.

use std::cell::Cell;

use todc_utils::{Action, History, Specification, WGLChecker};

use crate::claim::Operation;
use crate::model::Lock;

/// How many steps the search for an order of a segment may take. Histories of locks need a few for
/// each operation.
const MOST_STEPS: u64 = 2_000_000;

thread_local! {
    /// The steps of the search that this thread makes. A [`Specification`] is a type and no value.
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Whether there is an order; `None` if the search was given up.
pub(crate) fn is_linearizable(operations: &[Operation]) -> Option<bool> {
    let mut lock = Lock::free();
    for segment in segments(operations) {
        STEPS.set(0);
        let history = History::from_actions(actions(lock.clone(), &segment));
        if !WGLChecker::<Specified>::is_linearizable(history) {
            return (STEPS.get() < MOST_STEPS).then_some(false);
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

/// The operations as `todc-utils` takes them: each in a process of its own, in the order of time,
/// after the state in which they find the lock. What happens at the same time is concurrent.
fn actions(lock: Lock, operations: &[&Operation]) -> Vec<(usize, Action<Input>)> {
    let mut actions = Vec::new();
    for (index, operation) in operations.iter().copied().enumerate() {
        let process = index + 1;
        let call = Action::Call(Input::Operation(operation.clone()));
        actions.push(((operation.invoked, false), (process, call)));
        let response = Action::Response(Input::Operation(operation.clone()));
        actions.push(((operation.returned, true), (process, response)));
    }
    actions.sort_by_key(|(time, _)| *time);
    let start = Input::Start(lock);
    let start = [Action::Call(start.clone()), Action::Response(start)].map(|action| (0, action));
    let actions = actions.into_iter().map(|(_, action)| action);
    start.into_iter().chain(actions).collect()
}

/// The lock, for `todc-utils`.
struct Specified;

#[derive(Clone, Debug)]
enum Input {
    /// The lock is in this state when the history begins.
    Start(Lock),
    Operation(Operation),
}

impl Specification for Specified {
    type State = Lock;
    type Operation = Input;

    fn init() -> Lock {
        Lock::free()
    }

    fn apply(input: &Input, lock: &Lock) -> (bool, Lock) {
        STEPS.set(STEPS.get() + 1);
        let next = match input {
            Input::Start(lock) => Some(lock.clone()),
            // Nothing is possible any more, so the search ends.
            Input::Operation(_) if STEPS.get() >= MOST_STEPS => None,
            Input::Operation(operation) => lock.after(operation),
        };
        match next {
            Some(next) => (true, next),
            None => (false, lock.clone()),
        }
    }
}
