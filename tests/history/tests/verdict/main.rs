//! The verdict on histories made by hand, and on random ones.

mod file;
mod hand;
mod random;

use advisory_history::{Call, History, Mode, Outcome, Plan, Scope, Token, Verdict, check};

/// A call that holds one exclusive key, from a time to a time, and whose release is confirmed.
fn held(client: &str, granted: u64, released: u64) -> Call {
    Call {
        client: client.to_owned(),
        op: granted,
        plan: Plan {
            process: 0,
            verb: "acquire".to_owned(),
            scope: Scope::Session,
            keys: vec![7],
            mode: Mode::Exclusive,
            permits: 1,
        },
        invoked: granted - 5,
        granted: Some(granted),
        term: None,
        tokens: Vec::new(),
        released: Some(released),
        returned: Some((released + 5, Outcome::Released)),
    }
}

/// A call whose outcome is not a confirmed release.
fn ended(client: &str, granted: u64, released: u64, outcome: Outcome) -> Call {
    let returned = Some((released + 5, outcome));
    Call {
        returned,
        ..held(client, granted, released)
    }
}

fn token(at: u64, number: i64) -> Token {
    Token {
        invoked: at - 1,
        returned: at,
        number,
    }
}

/// The verdict on calls of one key.
fn verdict(calls: &[Call]) -> Verdict {
    let history = History {
        calls: calls.to_vec(),
        faults: Vec::new(),
    };
    verdict_of(&history)
}

fn verdict_of(history: &History) -> Verdict {
    let mut reports = check(history);
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0).verdict
}
