//! Versions of a PostgreSQL server.

use std::fmt;

/// The oldest major version that the tests support.
pub(crate) const OLDEST_MAJOR: u32 = 14;

/// The version of a PostgreSQL server, such as 15.18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The part before the dot.
    pub major: u32,
    /// The part after the dot; 0 for a version that has not been released.
    pub minor: u32,
}

impl Version {
    /// From the output of `postgres --version`, such as
    /// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) fn from_banner(banner: &str) -> Option<Self> {
        let number = banner.split_whitespace().nth(2)?;
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let is_released = number.contains('.');
        let minor = parts
            .next()
            .filter(|_| is_released)
            .and_then(|part| part.parse().ok());
        Some(Self {
            major,
            minor: minor.unwrap_or(0),
        })
    }

    /// From `server_version_num`, such as 150018.
    pub(crate) fn from_number(number: u32) -> Self {
        Self {
            major: number / 10_000,
            minor: number % 10_000,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_banner() {
        let version = |banner| Version::from_banner(banner).map(|v| v.to_string());
        assert_eq!(
            version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)").unwrap(),
            "15.18"
        );
        assert_eq!(version("postgres (PostgreSQL) 18.4").unwrap(), "18.4");
        assert_eq!(version("postgres (PostgreSQL) 19beta2").unwrap(), "19.0");
        assert_eq!(version("not a server"), None);
    }
}
