//! Installing the packages of other languages, and the programs that run them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use crate::cache::{self, cache_folder};
use crate::environment::variable;
use crate::notice::{self, print_notice};
use crate::process::program::output;

/// The program that runs a script of `tests/originals`.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) program: PathBuf,
    pub(crate) script: Option<PathBuf>,
    /// The environment variable with the folder of the packages, if the program needs one.
    pub(crate) packages: Option<(&'static str, PathBuf)>,
}

fn originals(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("originals")
        .join(file)
}

/// Python with the packages of `tests/originals/python`. If they are not available, prints a notice
/// and returns `None`.
///
/// # Panics
///
/// If they are not available, and `ADVISORY_REQUIRE_ORIGINALS` is set.
pub fn python() -> Option<Runtime> {
    static FOUND: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
        let (program, version) = newest_python()?;
        let requirements = originals("python/requirements.txt");
        let folder = installed(
            "python",
            &version,
            std::slice::from_ref(&requirements),
            |scratch| {
                let folder = scratch.join("venv");
                output(Command::new(&program).args(["-m", "venv"]).arg(&folder))?;
                let install = ["-m", "pip", "install", "--quiet", "--requirement"];
                output(
                    Command::new(folder.join("bin/python"))
                        .args(install)
                        .arg(&requirements),
                )?;
                Ok(folder)
            },
        )?;
        Ok(Runtime {
            program: folder.join("bin/python"),
            script: Some(originals("python/originals.py")),
            packages: None,
        })
    });
    found_or_skipped("Python's packages", "python3-venv", FOUND.clone())
}

/// The Python in `ADVISORY_PYTHON`, or the newest one on the `PATH` that can create virtual
/// environments; and its version.
fn newest_python() -> Result<(PathBuf, String), String> {
    let candidates = match variable("ADVISORY_PYTHON") {
        Some(named) => vec![PathBuf::from(named)],
        None => ["python3.14", "python3.13", "python3.12", "python3"]
            .map(PathBuf::from)
            .into(),
    };
    let version = "import ensurepip, venv, sys; assert sys.version_info >= (3, 10); print(sys.version.split()[0])";
    let mut reasons = String::from("no Python 3.10 or later with `venv`");
    for program in candidates {
        match output(Command::new(&program).args(["-c", version])) {
            Ok(version) => return Ok((program, version)),
            Err(reason) => write!(reasons, "; {reason}").expect("BUG: text can be written"),
        }
    }
    Err(reasons)
}

/// Node.js with the packages of `tests/originals/node`. If they are not available, prints a notice
/// and returns `None`.
///
/// # Panics
///
/// If they are not available, and `ADVISORY_REQUIRE_ORIGINALS` is set.
pub fn node() -> Option<Runtime> {
    static FOUND: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
        let version = output(Command::new("node").arg("--version"))?;
        let files = ["package.json", "package-lock.json"];
        let sources = files.map(|file| originals("node").join(file));
        let folder = installed("node", &version, &sources, |scratch| {
            for (file, source) in files.iter().zip(&sources) {
                let copied = std::fs::copy(source, scratch.join(file));
                copied.map_err(|error| error.to_string())?;
            }
            let install = [
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ];
            output(Command::new("npm").args(install).current_dir(scratch))?;
            Ok(scratch.join("node_modules"))
        })?;
        Ok(Runtime {
            program: "node".into(),
            script: Some(originals("node/originals.js")),
            packages: Some(("NODE_PATH", folder)),
        })
    });
    found_or_skipped("npm's packages", "npm", FOUND.clone())
}

/// PHP with the packages of the distribution. If they are not available, prints a notice and
/// returns `None`.
///
/// # Panics
///
/// If they are not available, and `ADVISORY_REQUIRE_ORIGINALS` is set.
pub fn php() -> Option<Runtime> {
    let packages = "php-cli php-pgsql php-symfony-lock php-malkusch-lock";
    let probe = "require 'Symfony/Component/Lock/autoload.php'; require 'Malkusch/Lock/autoload.php'; \
        exit(extension_loaded('pdo_pgsql') ? 0 : 1);";
    let found = of_distribution("php", ["-r", probe], "php/originals.php");
    found_or_skipped("PHP's packages", packages, found)
}

/// Ruby with the packages of the distribution. If they are not available, prints a notice and
/// returns `None`.
///
/// # Panics
///
/// If they are not available, and `ADVISORY_REQUIRE_ORIGINALS` is set.
pub fn ruby() -> Option<Runtime> {
    let probe = "require 'active_record'; require 'pg'";
    let found = of_distribution("ruby", ["-e", probe], "ruby/originals.rb");
    found_or_skipped("Ruby's packages", "ruby-activerecord ruby-pg", found)
}

/// A program of the distribution, if it finds its packages with these arguments.
fn of_distribution(program: &str, probe: [&str; 2], script: &str) -> Result<Runtime, String> {
    output(Command::new(program).args(probe)).map(|_| Runtime {
        program: program.into(),
        script: Some(originals(script)),
        packages: None,
    })
}

/// The Rust crates of `tests/originals/rust`, in a program that is built at first use. The program
/// is not part of the workspace, because of its many dependencies. If it cannot be built, prints a
/// notice and returns `None`.
///
/// # Panics
///
/// If the program cannot be built, and `ADVISORY_REQUIRE_ORIGINALS` is set.
pub fn rust() -> Option<Runtime> {
    static FOUND: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
        let version = output(Command::new("rustc").arg("--version"))?;
        let files = ["Cargo.toml", "Cargo.lock", "main.rs"];
        let sources = files.map(|file| originals("rust").join(file));
        let folder = installed("rust", &version, &sources, |scratch| {
            let build = ["build", "--release", "--locked", "--quiet"];
            output(
                Command::new("cargo")
                    .args(build)
                    .arg("--manifest-path")
                    .arg(&sources[0])
                    .env("CARGO_TARGET_DIR", scratch.join("target")),
            )?;
            let folder = scratch.join("bin");
            let moved = std::fs::create_dir(&folder).and_then(|()| {
                std::fs::rename(
                    scratch.join("target/release/originals"),
                    folder.join("originals"),
                )
            });
            moved.map_err(|error| error.to_string())?;
            Ok(folder)
        })?;
        Ok(Runtime {
            program: folder.join("originals"),
            script: None,
            packages: None,
        })
    });
    found_or_skipped("the Rust crates", "libssl-dev pkg-config", FOUND.clone())
}

/// The folder that `install` fills with the packages of `sources`, for this version of the
/// language. The folder is kept in the cache.
fn installed(
    language: &str,
    version: &str,
    sources: &[PathBuf],
    install: impl FnOnce(&Path) -> Result<PathBuf, String>,
) -> Result<PathBuf, String> {
    let mut digest = Sha256::new_with_prefix(version);
    for source in sources {
        digest.update(std::fs::read(source).map_err(|error| error.to_string())?);
    }
    let first = digest.finalize()[..8].try_into();
    let digest = u64::from_be_bytes(first.expect("BUG: eight bytes"));
    let cache = cache_folder()?;
    let folder = cache.join(format!("originals-{language}-{digest:016x}"));
    if folder.exists() {
        return Ok(folder);
    }
    print_notice(&format!(
        "installing the lock packages of {language} into {}",
        cache.display()
    ));
    cache::fill(&cache, &folder, install)?;
    Ok(folder)
}

/// The runtime, if it was found; see [`notice::found_or_skipped`]. `packages` are the packages of
/// Debian to install. `ADVISORY_REQUIRE_ORIGINALS` requires it.
fn found_or_skipped(what: &str, packages: &str, found: Result<Runtime, String>) -> Option<Runtime> {
    let advice = |reason| format!("{reason}; on Debian, `apt install {packages}`");
    let is_required = variable("ADVISORY_REQUIRE_ORIGINALS").is_some();
    notice::found_or_skipped(what, found.map_err(advice), is_required)
}
