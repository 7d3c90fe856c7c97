//! Every link between pages of the repository has a target.

use std::fs;
use std::path::{Path, PathBuf};

use advisory_tests::project::workspace;

fn pages() -> Vec<PathBuf> {
    let patterns =
        ["*.md", "docs/*.md", "examples/*/*.md"].map(|pattern| workspace().join(pattern));
    let found = patterns
        .iter()
        .map(|pattern| glob::glob(pattern.to_str().expect("the path is plain")));
    found
        .flat_map(|paths| paths.expect("the pattern is one"))
        .map(Result::unwrap)
        .collect()
}

/// The targets of `[text](target)` outside code.
fn links(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    let after = prose.flat_map(|text| text.split("](").skip(1));
    after
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .collect()
}

/// The anchors that GitHub generates from the headings.
fn anchors(page: &str) -> Vec<String> {
    let prose = page.split("```").step_by(2);
    let headings = prose
        .flat_map(str::lines)
        .filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase().replace(' ', "-");
    lower
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_".contains(*c))
        .collect()
}

/// The error of a link, if it has one.
fn fault(page: &Path, link: &str) -> Option<String> {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => page.to_owned(),
        _ => page.parent()?.join(path),
    };
    if !target.exists() {
        return Some(format!("{}: there is no {link}", page.display()));
    }
    let has_heading =
        || anchors(&fs::read_to_string(&target).unwrap()).contains(&heading.to_owned());
    let leads = heading.is_empty() || has_heading();
    (!leads).then(|| format!("{}: there is no heading {link}", page.display()))
}

#[test]
fn every_link_between_pages_has_a_target() {
    let mut faults = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let inside = links(&text)
            .into_iter()
            .filter(|link| !link.contains("://"));
        for link in inside {
            count += 1;
            faults.extend(fault(&page, link));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(count > 20, "found only {count} links");
}
