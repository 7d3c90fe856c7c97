//! Histories made by hand.

use advisory_history::{
    Call, Fault, History, Mode, Outcome, Scope, Verdict, check, longest_overlap,
};

use crate::{ended, held, token, verdict, verdict_of};

#[test]
fn one_holder_after_the_other_is_accepted() {
    assert_eq!(
        verdict(&[held("a", 10, 20), held("b", 30, 40)]),
        Verdict::Accepted
    );
    // The server has released the lock, and the answer is under way.
    assert_eq!(
        verdict(&[held("a", 10, 20), held("b", 21, 30)]),
        Verdict::Accepted
    );
}

#[test]
fn two_holders_at_once_are_refused_and_named() {
    let before = (0..50).map(|n| held("a", 10 + 20 * n, 20 + 20 * n));
    let after = (0..50).map(|n| held("b", 2010 + 20 * n, 2020 + 20 * n));
    let two = [held("c", 1500, 1600), held("d", 1550, 1700)];
    let calls: Vec<_> = before.chain(two).chain(after).collect();
    assert_eq!(verdict(&calls), Verdict::Refused(vec![50, 51]));
}

#[test]
fn a_holder_of_another_key_does_not_matter() {
    let mut other = held("b", 12, 18);
    other.plan.keys = vec![8];
    let history = History {
        calls: vec![held("a", 10, 20), other],
        faults: Vec::new(),
    };
    let verdicts: Vec<_> = check(&history)
        .into_iter()
        .map(|report| report.verdict)
        .collect();
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Accepted]);
}

#[test]
fn shared_holders_share_and_exclude_exclusive_ones() {
    let shared = |client, granted, released| {
        let mut call = held(client, granted, released);
        call.plan.mode = Mode::Shared;
        call
    };
    let two = [shared("a", 10, 30), shared("b", 20, 40)];
    assert_eq!(verdict(&two), Verdict::Accepted);
    let [a, b] = two;
    let refused = verdict(&[a, b, held("c", 35, 50)]);
    assert_eq!(refused, Verdict::Refused(vec![1, 2]));
}

#[test]
fn one_permit_too_many_is_refused() {
    let permit = |client, granted, released| {
        let mut call = held(client, granted, released);
        call.plan.permits = 2;
        call
    };
    let two = [
        permit("a", 10, 30),
        permit("b", 20, 40),
        permit("c", 36, 50),
    ];
    assert_eq!(verdict(&two), Verdict::Accepted);
    let three = [&two[..], &[permit("d", 25, 28)]].concat();
    assert_eq!(verdict(&three), Verdict::Refused(vec![0, 1, 3]));
}

#[test]
fn who_was_not_told_of_a_loss_was_alone() {
    let lost = ended("a", 10, 40, Outcome::Lost);
    assert_eq!(verdict(&[lost, held("b", 20, 30)]), Verdict::Accepted);
    assert_eq!(
        verdict(&[held("a", 10, 40), held("b", 20, 30)]),
        Verdict::Refused(vec![0, 1])
    );
}

/// The session was lost while the answer was under way.
#[test]
fn the_next_grant_may_be_before_the_answer_to_a_question_of_the_last_holder() {
    let mut lost = ended("a", 100, 140, Outcome::Lost);
    lost.invoked = 10;
    assert_eq!(
        verdict(&[lost.clone(), held("b", 20, 30)]),
        Verdict::Accepted
    );
    let late_token = advisory_history::Token {
        invoked: 105,
        ..token(135, 1)
    };
    lost.tokens = vec![late_token];
    assert_eq!(
        verdict(&[lost.clone(), held("b", 110, 120)]),
        Verdict::Accepted
    );
    let calls = [lost, held("b", 102, 104)];
    assert_eq!(verdict(&calls), Verdict::Refused(vec![0, 1]));
}

#[test]
fn a_killed_process_holds_until_somebody_else_does() {
    let killed = Call {
        released: None,
        returned: None,
        ..held("a", 10, 0)
    };
    let calls = [killed, held("b", 100, 110), held("c", 120, 130)];
    assert_eq!(verdict(&calls), Verdict::Accepted);
}

#[test]
fn a_call_without_an_answer_may_or_may_not_have_been_granted() {
    let unknown = Call {
        granted: None,
        released: None,
        returned: Some((20, Outcome::Unknown)),
        ..held("a", 10, 20)
    };
    assert_eq!(verdict(&[unknown, held("b", 12, 18)]), Verdict::Accepted);
}

#[test]
fn a_token_proves_that_the_lock_was_held() {
    let mut lost = ended("a", 10, 40, Outcome::Lost);
    lost.tokens = vec![token(35, 1)];
    let calls = [lost, held("b", 20, 30)];
    assert_eq!(verdict(&calls), Verdict::Refused(vec![0, 1]));
}

#[test]
fn a_token_that_was_used_before_is_refused() {
    let with_token = |client, granted, number| Call {
        tokens: vec![token(granted + 2, number)],
        ..held(client, granted, granted + 5)
    };
    let calls = [
        with_token("a", 10, 5),
        with_token("b", 20, 6),
        with_token("c", 30, 5),
    ];
    assert_eq!(verdict(&calls[..2]), Verdict::Accepted);
    let Verdict::Refused(refused) = verdict(&calls) else {
        panic!("accepted");
    };
    assert!(refused.contains(&2) && refused.len() == 2, "{refused:?}");
}

#[test]
fn the_token_of_a_transaction_counts_when_it_has_committed() {
    let in_transaction = |outcome, granted, number| {
        let mut call = ended("a", granted, granted + 5, outcome);
        call.plan.scope = Scope::Transaction;
        call.tokens = vec![token(granted + 2, number)];
        call
    };
    let lost = in_transaction(Outcome::Unknown, 10, 6);
    let after = in_transaction(Outcome::Released, 20, 5);
    assert_eq!(verdict(&[lost, after.clone()]), Verdict::Accepted);
    let committed = in_transaction(Outcome::Released, 10, 6);
    assert_eq!(verdict(&[committed, after]), Verdict::Refused(vec![0, 1]));
}

#[test]
fn the_number_of_a_term_is_a_token() {
    let term = |granted, number| Call {
        term: Some(number),
        ..held("a", granted, granted + 5)
    };
    assert_eq!(verdict(&[term(10, 1), term(20, 2)]), Verdict::Accepted);
    assert_eq!(
        verdict(&[term(10, 2), term(20, 2)]),
        Verdict::Refused(vec![0, 1])
    );
}

#[test]
fn a_release_in_memory_is_a_fact_unless_something_has_failed() {
    let mut on_session = ended("a", 10, 40, Outcome::Unconfirmed);
    on_session.plan.scope = Scope::LockSession;
    let mut history = History {
        calls: vec![on_session, held("b", 20, 30)],
        faults: Vec::new(),
    };
    assert_eq!(verdict_of(&history), Verdict::Refused(vec![0, 1]));
    let of_another_process = Fault {
        began: 12,
        ended: 13,
        fault: "a fault".to_owned(),
        process: Some(9),
    };
    history.faults.push(of_another_process);
    assert_eq!(verdict_of(&history), Verdict::Refused(vec![0, 1]));
    history.faults[0].process = Some(0);
    let report = check(&history).remove(0);
    assert_eq!((report.verdict, report.unproven), (Verdict::Accepted, 1));
    // A token is a fact in any case.
    history.calls[0].tokens = vec![token(35, 1)];
    assert_eq!(verdict_of(&history), Verdict::Refused(vec![0, 1]));
}

#[test]
fn the_longest_overlap_is_from_a_grant_to_the_end_of_the_section_before() {
    let lost = ended("a", 10, 40, Outcome::Lost);
    let history = History {
        calls: vec![lost, held("b", 20, 25), held("c", 39, 120)],
        faults: Vec::new(),
    };
    assert_eq!(longest_overlap(&history, |_, key| key == 7), 20);
    assert_eq!(longest_overlap(&history, |_, key| key == 8), 0);
}
