//! Histories are written and read.

use std::io::Write as _;

use advisory_history::{Event, History, Mode, Outcome, Plan, Recorder, Scope};

fn plan() -> Plan {
    Plan {
        process: 1,
        verb: "acquire".to_owned(),
        scope: Scope::Session,
        keys: vec![7, 8],
        mode: Mode::Exclusive,
        permits: 1,
    }
}

#[test]
fn what_is_recorded_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let recorder = Recorder::to(file.path()).unwrap();
    let attempt = recorder.attempt("1.2", 3, plan());
    let section = attempt.granted(None);
    section.token(1, 5);
    drop(section);
    attempt.returned(Outcome::Released);
    drop(attempt);
    drop(recorder.attempt("1.2", 4, plan()));
    recorder.write(&Event::Fault {
        at: 1,
        ended: 2,
        fault: "a fault".to_owned(),
        process: None,
    });
    // A process was killed while it wrote.
    let mut last = std::fs::OpenOptions::new()
        .append(true)
        .open(file.path())
        .unwrap();
    last.write_all(br#"{"event":"gran"#).unwrap();

    let text = std::fs::read(file.path()).unwrap();
    let history = History::read(&text[..]).unwrap();
    let [first, second] = &history.calls[..] else {
        panic!("{history:?}");
    };
    assert!(first.invoked <= first.granted.unwrap());
    assert!(first.granted <= first.released);
    assert_eq!(first.plan.keys, [7, 8]);
    assert_eq!((first.tokens[0].invoked, first.tokens[0].number), (1, 5));
    assert_eq!(first.returned.unwrap().1, Outcome::Released);
    assert_eq!(
        (second.granted, second.returned.unwrap().1),
        (None, Outcome::Unknown)
    );
    assert_eq!(history.faults.len(), 1);
}

#[test]
fn what_is_no_history_is_refused_with_its_line() {
    for (lines, expected) in [
        ("{}\n{}", "line 1 is no event"),
        ("\n\nnonsense\n", "line 3 is no event"),
        (
            r#"{"event":"granted","client":"a","op":1,"at":2}"#,
            "line 1 does not follow",
        ),
        (
            r#"{"event":"acquire","client":"a","op":1,"at":2,"process":0,"verb":"v","scope":"session","keys":[1],"mode":"shared","permits":1}
            {"event":"release","client":"a","op":1,"at":2}"#,
            "line 2 does not follow",
        ),
    ] {
        let error = History::read(lines.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
