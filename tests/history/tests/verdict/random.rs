//! Random histories of a lock that works, and the same with one fault.

use advisory_history::{Call, Outcome, Verdict};

use crate::{held, token, verdict};

/// A history of a lock with some permits. Grants and releases have happened one after the other;
/// the clients have asked before, and have learned of them later, so that calls overlap.
fn random(permits: u32, grants: u64) -> Vec<Call> {
    let mut free_at = vec![1000; permits as usize];
    let (mut calls, mut last) = (Vec::new(), 0);
    for index in 0..grants {
        let slot = fastrand::usize(..free_at.len());
        let granted = free_at[slot].max(last) + fastrand::u64(1..20);
        let released = granted + fastrand::u64(30..200);
        (free_at[slot], last) = (released, granted);
        let mut call = held(&format!("client {}", index % 16), granted, released);
        call.plan.permits = permits;
        call.op = index;
        // A client that waits has asked long before.
        call.invoked = granted.saturating_sub(fastrand::u64(1..1000));
        call.granted = Some(granted + fastrand::u64(0..10));
        call.released = Some(released - fastrand::u64(0..10));
        call.returned = Some((released + fastrand::u64(0..300), Outcome::Released));
        if permits == 1 && fastrand::bool() {
            let number = i64::try_from(index).unwrap();
            call.tokens = vec![token(granted + 15, number)];
        }
        if fastrand::u8(..8) == 0 {
            call.returned = call.returned.map(|(at, _)| (at, Outcome::Unknown));
        }
        calls.push(call);
    }
    calls
}

#[test]
fn a_lock_that_works_is_accepted() {
    for permits in [1, 2, 3, 5] {
        for _ in 0..20 {
            let calls = random(permits, 200);
            assert_eq!(verdict(&calls), Verdict::Accepted, "{calls:#?}");
        }
    }
}

#[test]
fn a_holder_that_goes_on_into_the_next_grant_is_refused() {
    let mut tried = 0;
    for _ in 0..50 {
        let mut calls = random(1, 100);
        let index = fastrand::usize(..99);
        let is_released = |call: &Call| matches!(call.returned, Some((_, Outcome::Released)));
        if !calls[index..=index + 1].iter().all(is_released) {
            continue;
        }
        tried += 1;
        let next = calls[index + 1].granted.unwrap();
        calls[index].released = Some(next + 1);
        calls[index].returned = Some((next + 2, Outcome::Released));
        assert_eq!(verdict(&calls), Verdict::Refused(vec![index, index + 1]));
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn a_history_of_thousands_of_calls_is_decided() {
    assert_eq!(verdict(&random(1, 10_000)), Verdict::Accepted);
    assert_eq!(verdict(&random(3, 5_000)), Verdict::Accepted);
}
