//! The cost that the crate adds to the build of a project that uses sqlx.

use std::time::{Duration, Instant};

use advisory_tests::project::{Project, SQLX_FEATURES, by_path, succeed};

use crate::Bench;
use crate::report::{Part, Report};
use crate::sample::three_digits;

#[expect(clippy::unused_async, reason = "as the other cases are")]
pub(crate) async fn run(bench: &Bench) -> Report {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let projects = [("without", ""), ("with", &by_path(""))].map(|(name, more)| {
        let (project, target) = (folder.path().join(name), folder.path().join("target"));
        Project::write(&project, &target, SQLX_FEATURES, more, "fn main() {}\n")
    });
    let [without, with] = [projects[0].crates(), projects[1].crates()];
    let (first, more) = seconds(bench, &projects);
    let added: Vec<_> = with
        .difference(&without)
        .map(|name| format!("`{name}`"))
        .collect();
    let text = format!(
        "The first build of a project with sqlx ({} crates) takes {}. With `advisory-core` it has {} crates ({}), and takes \
         {} more.",
        without.len(),
        shown(first),
        with.len(),
        added.join(", "),
        shown(more),
    );
    Part::text("build", text).into()
}

fn shown(seconds: Option<Duration>) -> String {
    seconds.map_or("a time that was not measured".to_owned(), |time| {
        format!("{} s", three_digits(time.as_secs_f64()))
    })
}

/// The durations of a build of the project with sqlx, and of a later build of the project with this
/// crate as well.
fn seconds(bench: &Bench, projects: &[Project; 2]) -> (Option<Duration>, Option<Duration>) {
    if bench.effort.is_smoke {
        return (None, None);
    }
    let build = |project: &Project| {
        let start = Instant::now();
        succeed(&mut project.cargo(&["build", "--quiet"]));
        start.elapsed()
    };
    bench.set_progress("build: a project with sqlx");
    let first = build(&projects[0]);
    bench.set_progress("build: a project with sqlx and advisory-core");
    (Some(first), Some(build(&projects[1])))
}
