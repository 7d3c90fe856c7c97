//! TLS: modes, and the certificates that are trusted.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use advisory_tests::{Database, Server, print_notice};
use tempfile::TempDir;

use super::source::Source;

/// The number of servers that this process has started.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A server that accepts TCP connections with TLS to the database `tls`, and without to `plain`.
struct TlsServer {
    _server: Server,
    database: Database,
    address: String,
    folder: TempDir,
}

impl TlsServer {
    /// Returns `None` without the program `openssl`, so that the test can be skipped.
    async fn try_start() -> Option<Self> {
        let Some(owner) = Server::shared().socket_dir() else {
            print_notice("SKIPPED tests of TLS: the server is not private");
            return None;
        };
        // Each process has addresses of its own, so that the port is free.
        let id = std::process::id();
        let count = STARTED.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.{}.{}.{}", 1 + id / 256 % 254, id % 256, 7 + count);
        if TcpListener::bind((&*address, 0)).is_err() {
            print_notice("SKIPPED tests of TLS: this machine has only one address of its own");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        if !make_certificates(folder.path(), &address) {
            print_notice("SKIPPED tests of TLS: no `openssl` on this machine");
            return None;
        }
        let rules =
            "hostssl tls all all trust\nhostnossl plain all all trust\nlocal all all trust\n";
        fs::write(folder.path().join("hba"), rules).unwrap();
        set_mode(&folder.path().join("hba"), 0o644);
        let owner = fs::metadata(owner).unwrap();
        let key = folder.path().join("server.key");
        chown(&key, Some(owner.uid()), Some(owner.gid())).unwrap();
        let file = |name| folder.path().join(name).to_str().unwrap().to_owned();
        let server = Server::start_with(&[
            ("listen_addresses", &address),
            ("hba_file", &file("hba")),
            ("ssl", "on"),
            ("ssl_cert_file", &file("server.crt")),
            ("ssl_key_file", &file("server.key")),
        ]);
        let server = server.unwrap();
        let database = Database::on(&server).await;
        database.execute("CREATE DATABASE tls").await;
        database.execute("CREATE DATABASE plain").await;
        Some(Self {
            _server: server,
            database,
            address,
            folder,
        })
    }

    fn source(&self) -> Source {
        let user = Source::of(&self.database).get("PGUSER").to_owned();
        let source = Source::empty().with("PGHOST", &self.address);
        source.with("PGUSER", &user).with("PGDATABASE", "tls")
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

/// Makes the certificates of two authorities, and one of a server that the first has signed.
fn make_certificates(folder: &Path, address: &str) -> bool {
    let script = format!(
        "set -e; new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
         openssl req -x509 $new -keyout ca.key -out ca.crt -subj /CN=ca
         openssl req -x509 $new -keyout other.key -out other.crt -subj /CN=other
         openssl req $new -keyout server.key -out server.csr -subj /CN=server
         echo 'subjectAltName=IP:{address}' >extensions
         openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \\
             -extfile extensions -out server.crt
         chmod 644 *.crt; chmod 600 *.key"
    );
    let mut command = Command::new("/bin/sh");
    let output = command.args(["-c", &script]).current_dir(folder).output();
    output.is_ok_and(|output| output.status.success())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn assert_connects(source: &Source, url: &str) {
    let found = source.database(Some(url)).await;
    assert!(found.is_ok(), "{url}: {found:?}");
}

async fn assert_refused(source: &Source, url: &str, code: i32, text: &str) {
    let refused = source.run(&["ls", "--database-url", url]).await;
    refused.assert_fails(code, &[text]);
}

#[tokio::test]
async fn certificates_are_verified_where_libpq_verifies_them() {
    let Some(server) = TlsServer::try_start().await else {
        return;
    };
    let certificate = "certificate";
    let (ours, other) = (server.file("ca.crt"), server.file("other.crt"));
    let source = server.source();
    assert_connects(&source, "sslmode=require").await;
    assert_refused(&source, "sslmode=verify-ca", 69, certificate).await;
    // A refusal does not pass by itself.
    let url = "--database-url=sslmode=verify-ca";
    let lead = source.run(&["lead", "sync", url, "--", "true"]).await;
    lead.assert_fails(69, &[certificate]);
    assert_refused(&source, "sslrootcert=system", 69, certificate).await;
    assert_refused(
        &source,
        "sslrootcert=system sslmode=require",
        2,
        "expected `verify-full`",
    )
    .await;
    for mode in ["verify-ca", "verify-full"] {
        assert_connects(&source, &format!("sslmode={mode} sslrootcert={ours}")).await;
        let wrong = format!("sslmode={mode} sslrootcert={other}");
        assert_refused(&source, &wrong, 69, certificate).await;
    }
    // A root certificate that exists is used.
    let wrong = format!("sslmode=require sslrootcert={other}");
    assert_refused(&source, &wrong, 69, certificate).await;
    source.write(".postgresql/root.crt", &fs::read_to_string(&other).unwrap());
    assert_refused(&source, "sslmode=require", 69, certificate).await;
    source.write(".postgresql/root.crt", &fs::read_to_string(&ours).unwrap());
    assert_connects(&source, "sslmode=require").await;
    assert_connects(&source, "sslmode=verify-full").await;
    source.write(".postgresql/root.crl", "");
    assert_refused(&source, "sslmode=verify-full", 2, "root.crl").await;
}

#[tokio::test]
async fn the_certificates_of_the_system_are_those_of_sslrootcert_system() {
    let Some(server) = TlsServer::try_start().await else {
        return;
    };
    let source = server.source().with("PGSSLROOTCERT", "system");
    assert_refused(&source, "", 69, "certificate").await;
    // Replaces the system's own.
    let source = source.with("SSL_CERT_FILE", &server.file("ca.crt"));
    assert_connects(&source, "").await;
    assert_connects(&source, "sslrootcert=system sslmode=verify-full").await;
}

#[tokio::test]
async fn a_server_that_refuses_connections_of_one_kind_is_tried_with_the_other() {
    let Some(server) = TlsServer::try_start().await else {
        return;
    };
    let source = server.source();
    for (database, modes) in [
        ("tls", &["allow", "prefer", "require"][..]),
        ("plain", &["disable", "allow", "prefer"]),
    ] {
        for mode in modes {
            assert_connects(&source, &format!("dbname={database} sslmode={mode}")).await;
        }
    }
    assert_refused(&source, "dbname=tls sslmode=disable", 69, "no encryption").await;
    assert_refused(
        &source,
        "dbname=plain sslmode=require",
        69,
        "SSL encryption",
    )
    .await;
}
