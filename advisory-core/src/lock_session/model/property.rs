//! What holds in every state.

use super::*;

pub(super) fn all() -> Vec<Property<Process>> {
    vec![
        Property::always(NEVER_TWO, never_two),
        Property::always(HELD_ON_SERVER, held_on_server),
        Property::always(TOLD_OF_LOSS, told_of_loss),
        Property::always(NO_LOCK_WITHOUT_OWNER, no_lock_without_owner),
        Property::always(AS_NEW_AT_REST, as_new_at_rest),
        Property::always(EVERYBODY_IS_SERVED, everybody_is_served),
        Property::always(ASKED_ONCE, |_, state: &State| state.server.is_asked_once()),
        Property::always(NO_WAIT_WITHOUT_REASON, no_wait_without_reason),
        Property::always(OTHERS_GET_THEIR_CHANCE, |_, state: &State| {
            !state.violated.contains(OTHERS_GET_THEIR_CHANCE)
        }),
        Property::always(NONE_OVERTAKEN, |_, state: &State| {
            !state.violated.contains(NONE_OVERTAKEN)
        }),
    ]
}

pub(super) const NEVER_TWO: &str = "never two";
pub(super) const HELD_ON_SERVER: &str = "what a guard holds is held on the server";
pub(super) const TOLD_OF_LOSS: &str = "guards of a lost session are notified";
pub(super) const NO_LOCK_WITHOUT_OWNER: &str = "no lock without an owner";
pub(super) const AS_NEW_AT_REST: &str = "as new at rest";
pub(super) const EVERYBODY_IS_SERVED: &str = "everybody is served";
pub(super) const ASKED_ONCE: &str = "the session is asked once";
pub(super) const NO_WAIT_WITHOUT_REASON: &str = "nobody waits or is refused without a reason";
pub(super) const NONE_OVERTAKEN: &str = "who came first is not overtaken";
pub(super) const OTHERS_GET_THEIR_CHANCE: &str = "others get their chance";

fn never_two(process: &Process, state: &State) -> bool {
    let holders = state.holders(process);
    let excludes = |index: usize| {
        let (key, mode) = holders[index];
        let mut before = holders[..index].iter();
        before.any(|(other, held)| {
            key == *other && (mode == Mode::Exclusive || *held == Mode::Exclusive)
        })
    };
    !(0..holders.len()).any(excludes)
}

fn held_on_server(process: &Process, state: &State) -> bool {
    let server = &state.server;
    let mut guards = state.guards(process);
    guards.all(|(session, key, mode, _)| {
        !server.sessions.contains(&session) || server.holds(session, key, mode)
    })
}

fn told_of_loss(process: &Process, state: &State) -> bool {
    let is_open = |session| {
        let mut lines = state.lines.iter();
        lines.any(|line| line.session() == Some(session))
    };
    let mut guards = state.guards(process);
    guards.all(|(session, .., is_told)| is_told || is_open(session))
}

fn no_lock_without_owner(_: &Process, state: &State) -> bool {
    state.lines.iter().all(|line| match *line {
        Line::Idle(session) => state.table.holds(session) || state.server.is_clear_of(session),
        _ => true,
    })
}

fn as_new_at_rest(process: &Process, state: &State) -> bool {
    if !state.is_unused() || process.has_steps(state) {
        return true;
    }
    let (mut new, mut used) = (Table::new(process.limits), state.table.clone());
    new.open(FIRST);
    used.open(FIRST);
    new == used
}

fn everybody_is_served(process: &Process, state: &State) -> bool {
    let mut clients = state.clients.iter().enumerate();
    clients.all(|(client, phase)| process.keeps(client) || phase.is_at_rest())
        || process.has_steps(state)
}

/// A request that tries waits for messages only. Where all locks are shared, the others do, too.
fn no_wait_without_reason(process: &Process, state: &State) -> bool {
    let is_exclusive = |plan: &Plan| plan.lock.mode() == Mode::Exclusive;
    let outsider = process.outsider.map(|(_, mode)| mode);
    let has_reason = outsider == Some(Mode::Exclusive) || process.plans.iter().any(is_exclusive);
    let mut clients = state.clients.iter().zip(&process.plans);
    let is_right = |(client, plan): (&Client, &Plan)| match client {
        Client::Waiting => !matches!(plan.manner, Manner::Tries | Manner::TriesFirst) && has_reason,
        Client::Refused => has_reason,
        _ => true,
    };
    clients.all(is_right) || process.has_messages(state)
}
