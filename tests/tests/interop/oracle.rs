//! The oracle: compares a scheme of ours with another client that takes locks by name.

use advisory_core::{AdvisoryLock, Key, SessionGuard};
use advisory_tests::foreign_client::{ForeignClient, Runtime};
pub(crate) use advisory_tests::print_notice;
use advisory_tests::{Database, by_depth};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::name;

/// How many random names are compared.
fn random_names() -> usize {
    by_depth(1_000, 10_000)
}

type KeyOf = dyn Fn(&str) -> Option<Key>;

/// A scheme of this crate.
pub(crate) struct OurScheme {
    pub(crate) label: String,
    /// The key of a name; `None` for a name that the other client refuses.
    pub(crate) key: Box<KeyOf>,
}

/// Another client that takes locks by name.
pub(crate) trait LockClient {
    /// The client and what runs it, for messages.
    fn describe(&self) -> String;

    /// True if the client has taken the lock; an error if it refuses the name.
    async fn try_lock(&mut self, name: &str) -> Result<bool, String>;

    /// Releases the lock.
    async fn free(&mut self, name: &str);

    /// The keys of many names.
    async fn keys(&mut self, names: &[String]) -> Vec<Key>;
}

pub(crate) struct Oracle<'a> {
    database: &'a Database,
    pool: PgPool,
}

impl<'a> Oracle<'a> {
    pub(crate) async fn new(database: &'a Database) -> Self {
        let pool = database.pool(4).await;
        Self { database, pool }
    }

    /// Compares a package of another language.
    pub(crate) async fn compare_package(&self, runtime: &Runtime, package: &str, ours: OurScheme) {
        let client = ForeignClient::start(runtime, package, self.database).await;
        self.compare(client, ours).await;
    }

    /// Takes the lock of each chosen name with both clients in turn, and compares the keys of
    /// random names.
    pub(crate) async fn compare(&self, mut other: impl LockClient, ours: OurScheme) {
        let mut locked = 0;
        for name in name::chosen() {
            match (ours.key)(&name) {
                Some(key) => {
                    self.assert_exclusive(&mut other, &name, key).await;
                    locked += 1;
                }
                None => assert!(other.try_lock(&name).await.is_err(), "{name:?} is refused"),
            }
        }
        let agreed = self.agree(&mut other, &ours).await;
        let (ours, other) = (ours.label, other.describe());
        print_notice(&format!(
            "{ours} = {other}: {locked} names locked both ways, {agreed} random names agree"
        ));
    }

    async fn assert_exclusive(&self, other: &mut impl LockClient, name: &str, key: Key) {
        assert_eq!(other.try_lock(name).await, Ok(true), "{name:?} is free");
        self.assert_held(name, key).await;
        other.free(name).await;
        let guard = self.hold(key).await;
        assert_eq!(other.try_lock(name).await, Ok(false), "{name:?} is ours");
        guard.release().await.unwrap();
        assert_eq!(
            other.try_lock(name).await,
            Ok(true),
            "{name:?} is free again"
        );
        other.free(name).await;
        assert_eq!(self.database.advisory_locks().await, []);
    }

    /// Compares the keys of random names, and returns their number.
    pub(crate) async fn agree(&self, other: &mut impl LockClient, ours: &OurScheme) -> usize {
        let accepted = |name: &String| (ours.key)(name).is_some();
        let names: Vec<_> = name::random()
            .filter(accepted)
            .take(random_names())
            .collect();
        let theirs = other.keys(&names).await;
        assert_eq!(theirs.len(), names.len());
        for (name, theirs) in names.iter().zip(theirs) {
            assert_eq!(
                (ours.key)(name),
                Some(theirs),
                "{}: {name:?}",
                other.describe()
            );
        }
        names.len()
    }

    /// Asserts that another session holds exactly this key, and that we cannot lock it.
    pub(crate) async fn assert_held(&self, name: &str, key: Key) {
        let locks = self.database.advisory_locks().await;
        let held: Vec<_> = locks
            .iter()
            .map(|lock| Key::from_pg_locks(lock.classid, lock.objid, lock.objsubid))
            .collect();
        assert_eq!(held, [Some(key)], "{name:?}");
        self.assert_taken(key).await;
    }

    /// Asserts that we cannot lock the key.
    pub(crate) async fn assert_taken(&self, key: Key) {
        let ours = AdvisoryLock::from(key).try_acquire(&self.pool).await;
        assert!(ours.unwrap().is_none(), "another session holds {key}");
    }

    pub(crate) async fn hold(&self, key: Key) -> SessionGuard {
        let guard = AdvisoryLock::from(key).try_acquire(&self.pool).await;
        guard.unwrap().expect("no other session holds it")
    }
}

impl LockClient for ForeignClient {
    fn describe(&self) -> String {
        format!("{} ({})", self.package, self.runtime)
    }

    async fn try_lock(&mut self, name: &str) -> Result<bool, String> {
        let response = self.request(json!({"do": "try", "name": name})).await?;
        Ok(response["held"].as_bool().expect("it is true or false"))
    }

    /// Releases the lock.
    async fn free(&mut self, name: &str) {
        self.request(json!({"do": "free", "name": name}))
            .await
            .unwrap();
    }

    async fn keys(&mut self, names: &[String]) -> Vec<Key> {
        let mut response = self
            .request(json!({"do": "keys", "names": names}))
            .await
            .unwrap();
        let keys = response["keys"].take();
        let key = |key: &Value| Key::parse(key.as_str().expect("it is text")).unwrap();
        keys.as_array()
            .expect("it is a list")
            .iter()
            .map(key)
            .collect()
    }
}
