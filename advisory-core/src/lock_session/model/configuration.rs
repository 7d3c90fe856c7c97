//! The configurations that are checked.

use stateright::{Checker, HasDiscoveries};

use super::property::*;
use super::*;

fn plan(keys: &[i64], mode: Mode, manner: Manner) -> Plan {
    let lock = AdvisoryLock::all(keys.iter().map(|key| Key::BigInt(*key)));
    let lock = match mode {
        Mode::Exclusive => lock,
        Mode::Shared => lock.shared(),
    };
    Plan {
        lock: lock.id().without_name(),
        manner,
    }
}

/// All plans for these keys.
fn plans(locks: &[&[i64]], manners: &[Manner]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for keys in locks {
        for mode in [Mode::Exclusive, Mode::Shared] {
            plans.extend(manners.iter().map(|manner| plan(keys, mode, *manner)));
        }
    }
    plans
}

/// All ways to give each client one of the plans.
fn combinations(clients: u32, plans: &[Plan]) -> Vec<Vec<Plan>> {
    let mut combinations = vec![Vec::new()];
    for _ in 0..clients {
        let longer = combinations.iter().flat_map(|fewer: &Vec<Plan>| {
            let one_more = |plan: &Plan| [&fewer[..], std::slice::from_ref(plan)].concat();
            plans.iter().map(one_more)
        });
        combinations = longer.collect();
    }
    combinations
}

/// Checks the process with each combination of clients.
fn check(process: &Process, combinations: Vec<Vec<Plan>>) {
    let mut states = 0;
    let configurations = combinations.len();
    for plans in combinations {
        let process = Process {
            plans,
            ..process.clone()
        };
        let plans = process.plans.clone();
        let checker = process.checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = checker.spawn_bfs().join();
        states += checker.unique_state_count();
        if let Some((property, path)) = checker.discoveries().into_iter().next() {
            panic!(
                "not \"{property}\": {plans:?} after {:?} in {:#?}",
                path.clone().into_actions(),
                path.last_state()
            );
        }
    }
    println!("{configurations} configurations, {states} states");
}

const KEY: Key = Key::BigInt(1);
const NONE: Chances = Chances {
    losses: 0,
    errors: 0,
    drops: 0,
    sweeps: 0,
    times: 0,
};
const MANNERS: [Manner; 3] = [Manner::Waits, Manner::Tries, Manner::Polls];
const LOCKS: [&[i64]; 3] = [&[1], &[1, 2], &[2]];

#[test]
fn two_clients_are_dropped_at_any_time() {
    let process = Process {
        chances: Chances {
            drops: 2,
            sweeps: 1,
            ..NONE
        },
        ..Process::default()
    };
    check(&process, combinations(2, &plans(&LOCKS, &MANNERS)));
}

#[test]
fn three_clients_arrive_in_any_order() {
    let process = Process {
        in_order: false,
        chances: Chances { drops: 1, ..NONE },
        ..Process::default()
    };
    let plans = plans(&LOCKS[..1], &[Manner::Waits, Manner::Tries]);
    check(&process, combinations(3, &plans));
}

#[test]
fn three_clients_want_overlapping_keys() {
    let plans = plans(&LOCKS, &[Manner::Waits]);
    check(&Process::default(), combinations(3, &plans));
}

#[test]
fn messages_are_split_and_fail() {
    let mut process = Process {
        chances: Chances {
            drops: 1,
            errors: 1,
            ..NONE
        },
        ..Process::default()
    };
    process.limits.keys = 1;
    check(
        &process,
        combinations(2, &plans(&LOCKS, &[Manner::Waits, Manner::Tries])),
    );
}

#[test]
fn a_session_is_lost_at_any_time() {
    let process = Process {
        chances: Chances {
            losses: 1,
            drops: 1,
            ..NONE
        },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS[..2], &[Manner::Waits, Manner::Tries])),
    );
}

/// No key of it is woken.
#[test]
fn a_lock_on_no_keys_is_asked_for_again() {
    let locks: [&[i64]; 2] = [&[], &[1]];
    for chances in [Chances { losses: 1, ..NONE }, Chances { errors: 1, ..NONE }] {
        let process = Process {
            chances,
            ..Process::default()
        };
        check(
            &process,
            combinations(2, &plans(&locks, &[Manner::Waits, Manner::Tries])),
        );
    }
}

#[test]
fn two_sessions_are_lost_in_a_row() {
    let process = Process {
        chances: Chances { losses: 2, ..NONE },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS[..1], &[Manner::Waits])),
    );
}

#[test]
fn another_process_competes_with_one_session() {
    for mode in [Mode::Exclusive, Mode::Shared] {
        let process = Process {
            outsider: Some((KEY, mode)),
            chances: Chances {
                drops: 1,
                sweeps: 1,
                ..NONE
            },
            ..Process::default()
        };
        check(&process, combinations(2, &plans(&LOCKS[..2], &MANNERS)));
    }
}

#[test]
fn another_process_gets_its_chance() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        chances: Chances { times: 2, ..NONE },
        ..Process::default()
    };
    let shared = plan(&[1], Mode::Shared, Manner::Waits);
    let exclusive = plan(&[1], Mode::Exclusive, Manner::Waits);
    check(&process, combinations(3, &[shared]));
    check(&process, combinations(3, &[exclusive]));
}

/// A key that can be joined is no reason to wait, however long its holder keeps it.
#[test]
fn shared_keys_are_granted_beside_a_holder_that_keeps_one() {
    let keeper = plan(&[1], Mode::Shared, Manner::Waits);
    let mut shared = plans(&LOCKS, &MANNERS);
    shared.retain(|plan| plan.lock.mode() == Mode::Shared);
    let others = combinations(2, &shared).into_iter();
    let clients: Vec<_> = others
        .map(|others| [vec![keeper.clone()], others].concat())
        .collect();
    for has_spare in [false, true] {
        let process = Process {
            outsider: Some((Key::BigInt(2), Mode::Exclusive)),
            has_keeper: true,
            has_spare,
            chances: Chances { times: 1, ..NONE },
            ..Process::default()
        };
        check(&process, clients.clone());
    }
}

#[test]
fn a_second_session_queues() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        has_spare: true,
        chances: Chances { drops: 1, ..NONE },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS, &[Manner::Waits, Manner::Tries])),
    );
}

#[test]
fn a_session_is_lost_while_another_queues() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        has_spare: true,
        chances: Chances { losses: 1, ..NONE },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS[..1], &[Manner::Waits])),
    );
}

/// A try for one of two slots.
fn pick(manner: Manner) -> Plan {
    Plan {
        lock: AdvisoryLock::from(KEY).permits(2).id().without_name(),
        manner,
    }
}

#[test]
fn slots_are_taken_beside_the_lock_itself() {
    let clients = [
        pick(Manner::Tries),
        pick(Manner::TriesFirst),
        plan(&[1], Mode::Exclusive, Manner::Waits),
    ];
    for chances in [
        Chances { drops: 1, ..NONE },
        Chances { errors: 1, ..NONE },
        Chances { losses: 1, ..NONE },
    ] {
        let process = Process {
            chances,
            ..Process::default()
        };
        check(&process, combinations(3, &clients));
    }
}

#[test]
fn another_process_has_a_slot_or_queues_for_one() {
    for (key, mode) in [
        (KEY, Mode::Exclusive),
        (KEY.slot(2), Mode::Exclusive),
        (KEY.slot(0), Mode::Exclusive),
    ] {
        let process = Process {
            outsider: Some((key, mode)),
            has_spare: true,
            chances: Chances { drops: 1, ..NONE },
            ..Process::default()
        };
        let waits = plan(&[1], Mode::Exclusive, Manner::Waits);
        let clients = [pick(Manner::Tries), pick(Manner::TriesFirst), waits];
        check(&process, combinations(2, &clients));
    }
}

/// Without a cycle of events, everything comes to rest, which some properties are about.
#[test]
fn no_event_comes_back() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        has_spare: true,
        chances: Chances {
            drops: 1,
            sweeps: 1,
            times: 1,
            ..NONE
        },
        ..Process::default()
    };
    for plans in combinations(2, &plans(&LOCKS[..1], &MANNERS)) {
        let process = Process {
            plans,
            ..process.clone()
        };
        let mut seen = HashMap::new();
        for state in process.init_states() {
            assert!(process.comes_to_rest(&state, &mut seen), "{process:?}");
        }
    }
}

impl Process {
    fn comes_to_rest(&self, state: &State, seen: &mut HashMap<State, bool>) -> bool {
        if let Some(comes_to_rest) = seen.get(state) {
            return *comes_to_rest;
        }
        seen.insert(state.clone(), false);
        let mut next = self.next_states(state).into_iter();
        let comes_to_rest = next.all(|next| self.comes_to_rest(&next, seen));
        seen.insert(state.clone(), comes_to_rest);
        comes_to_rest
    }
}

/// Checks that a property fails with a mistake, and holds without.
fn finds(bug: Bug, properties: &[&'static str], process: &Process) {
    let waits = plan(&[1], Mode::Exclusive, Manner::Waits);
    let plans = vec![waits.clone(), waits];
    check(process, vec![plans.clone()]);
    for property in properties {
        let process = Process {
            plans: plans.clone(),
            bug: Some(bug),
            ..process.clone()
        };
        let is_found = HasDiscoveries::AnyOf(BTreeSet::from([*property]));
        let checker = process.checker().finish_when(is_found).spawn_bfs().join();
        checker.assert_any_discovery(property);
    }
}

#[test]
fn second_grant_of_a_held_key_is_found() {
    let bug = Bug::LocalHoldersAreIgnored;
    finds(bug, &[NEVER_TWO, ASKED_ONCE], &Process::default());
}

#[test]
fn guards_that_outlive_their_session_are_found() {
    let process = Process {
        chances: Chances { losses: 1, ..NONE },
        ..Process::default()
    };
    let moved = [NEVER_TWO, HELD_ON_SERVER];
    finds(Bug::GuardsMoveToTheNewSession, &moved, &process);
    finds(Bug::LossIsKept, &[TOLD_OF_LOSS], &process);
    finds(
        Bug::LostMessageIsForgotten,
        &[EVERYBODY_IS_SERVED],
        &process,
    );
}

#[test]
fn locks_without_an_owner_are_found() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        has_spare: true,
        chances: Chances { drops: 1, ..NONE },
        ..Process::default()
    };
    let wrong_session = Bug::UnlocksGoToTheFirstSession;
    finds(
        wrong_session,
        &[NO_LOCK_WITHOUT_OWNER, EVERYBODY_IS_SERVED],
        &process,
    );
    finds(Bug::WaitGoesOn, &[NO_LOCK_WITHOUT_OWNER], &process);
}
