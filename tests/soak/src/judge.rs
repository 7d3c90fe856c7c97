//! The verdict on a history.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use advisory_history::{History, KeyReport, ReadError, Verdict, check};
use comfy_table::Table;

use crate::table;

/// The exit code if a history is refused.
const REFUSED: u8 = 1;
/// The exit code if there is no verdict.
const UNDECIDED: u8 = 2;

/// Reads a history from a file.
pub(crate) fn read(file: &Path) -> Result<History, ReadError> {
    History::read(BufReader::new(File::open(file)?))
}

/// Prints the verdict for each key of a file.
pub(crate) fn check_file(file: &Path) -> ExitCode {
    let history = match read(file) {
        Ok(history) => history,
        Err(error) => {
            eprintln!("soak: {}: {error}", file.display());
            return ExitCode::from(UNDECIDED);
        }
    };
    let reports = check(&history);
    println!("{}\n", table_of(&reports));
    print_summary(&history, &reports);
    let has = |is_such: fn(&Verdict) -> bool| reports.iter().any(|report| is_such(&report.verdict));
    if has(|verdict| matches!(verdict, Verdict::Refused(_))) {
        ExitCode::from(REFUSED)
    } else if has(|verdict| matches!(verdict, Verdict::Undecided)) {
        ExitCode::from(UNDECIDED)
    } else {
        ExitCode::SUCCESS
    }
}

/// A row for each key.
fn table_of(reports: &[KeyReport]) -> Table {
    let counts = ["calls", "granted", "unproven", "operations"];
    let header = ["key"].into_iter().chain(counts).chain(["verdict"]);
    let mut table = table::new(header);
    for report in reports {
        let verdict = match &report.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Refused(_) => "REFUSED",
            Verdict::Undecided => "undecided",
        };
        let counts = [
            report.calls,
            report.granted,
            report.unproven,
            report.operations,
        ];
        let counts = counts.map(|count| count.to_string());
        let key = report.key.to_string();
        table.add_row([key].into_iter().chain(counts).chain([verdict.to_owned()]));
    }
    table::align(&mut table, 0..5);
    table
}

/// Prints the calls that have no order, and one line about all keys.
pub(crate) fn print_summary(history: &History, reports: &[KeyReport]) {
    for report in reports {
        if let Verdict::Refused(calls) = &report.verdict {
            print_refused(history, report.key, calls);
        }
    }
    let sum = |count: fn(&KeyReport) -> usize| reports.iter().map(count).sum::<usize>();
    let count = |is_such: fn(&Verdict) -> bool| {
        let such = reports.iter().filter(|report| is_such(&report.verdict));
        such.count()
    };
    println!(
        "{} calls, {} faults; on {} keys {} grants, {} of them unproven, {} operations: \
         {} keys accepted, {} refused, {} undecided",
        history.calls.len(),
        history.faults.len(),
        reports.len(),
        sum(|report| report.granted),
        sum(|report| report.unproven),
        sum(|report| report.operations),
        count(|verdict| *verdict == Verdict::Accepted),
        count(|verdict| matches!(verdict, Verdict::Refused(_))),
        count(|verdict| *verdict == Verdict::Undecided),
    );
}

/// Prints calls that have no order, and what failed meanwhile.
fn print_refused(history: &History, key: i64, calls: &[usize]) {
    println!("key {key} REFUSED: these calls have no order, and any of them fewer has one:");
    let calls: Vec<_> = calls.iter().map(|call| &history.calls[*call]).collect();
    for call in &calls {
        println!("  {call}");
    }
    let granted = calls.iter().filter_map(|call| call.granted).min();
    let ended = calls.iter().filter_map(|call| call.released).max();
    let meanwhile = history.faults.iter().filter(|fault| {
        let is_after = granted.is_none_or(|granted| fault.ended >= granted);
        is_after && ended.is_none_or(|ended| fault.began <= ended)
    });
    for fault in meanwhile {
        println!("  meanwhile: {fault}");
    }
    println!();
}
