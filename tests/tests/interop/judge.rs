//! The comparison.

use advisory_core::{AdvisoryLock, Key, SessionGuard};
use advisory_tests::Database;
use advisory_tests::original::Original;
pub(crate) use advisory_tests::original::tell;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::name;

/// So many random names, where a function can be asked for many.
const MANY: usize = 10_000;

type KeyOf = dyn Fn(&str) -> Option<Key>;

/// A scheme of ours, as it is compared.
pub(crate) struct Ours {
    pub(crate) label: String,
    /// `None` for a name that the original refuses.
    pub(crate) key: Box<KeyOf>,
}

/// Whoever else takes locks by name.
pub(crate) trait Other {
    /// What it is, and what runs it.
    fn describe(&self) -> String;

    /// Whether it has got the lock; or why it refuses the name.
    async fn try_lock(&mut self, name: &str) -> Result<bool, String>;

    async fn free(&mut self, name: &str);

    async fn keys(&mut self, names: &[String]) -> Vec<Key>;
}

pub(crate) struct Judge<'a> {
    database: &'a Database,
    pool: PgPool,
}

impl<'a> Judge<'a> {
    pub(crate) async fn new(database: &'a Database) -> Self {
        let pool = database.pool(4).await;
        Self { database, pool }
    }

    /// Holds each name's lock from both sides, and compares the keys of many names.
    pub(crate) async fn compare(&self, mut other: impl Other, ours: Ours) {
        let mut locked = 0;
        for name in name::chosen() {
            match (ours.key)(&name) {
                Some(key) => {
                    self.both_ways(&mut other, &name, key).await;
                    locked += 1;
                }
                None => assert!(other.try_lock(&name).await.is_err(), "{name:?} is refused"),
            }
        }
        let agreed = self.agree(&mut other, &ours).await;
        let (ours, other) = (ours.label, other.describe());
        tell(&format!(
            "{ours} = {other}: {locked} names locked both ways, {agreed} random names agree"
        ));
    }

    async fn both_ways(&self, other: &mut impl Other, name: &str, key: Key) {
        assert_eq!(other.try_lock(name).await, Ok(true), "{name:?} is free");
        self.is_held(name, key).await;
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

    /// Compares the keys of many names.
    pub(crate) async fn agree(&self, other: &mut impl Other, ours: &Ours) -> usize {
        let accepted = |name: &String| (ours.key)(name).is_some();
        let names: Vec<_> = name::random().filter(accepted).take(MANY).collect();
        let theirs = other.keys(&names).await;
        assert_eq!(theirs.len(), MANY);
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

    /// Somebody else holds exactly this key, and it is not to be had here.
    pub(crate) async fn is_held(&self, name: &str, key: Key) {
        let locks = self.database.advisory_locks().await;
        let held: Vec<_> = locks
            .iter()
            .map(|lock| Key::from_pg_locks(lock.classid, lock.objid, lock.objsubid))
            .collect();
        assert_eq!(held, [Some(key)], "{name:?}");
        self.is_taken(key).await;
    }

    /// It is not to be had.
    pub(crate) async fn is_taken(&self, key: Key) {
        let ours = AdvisoryLock::from(key).try_acquire(&self.pool).await;
        assert!(ours.unwrap().is_none(), "somebody else has {key}");
    }

    pub(crate) async fn hold(&self, key: Key) -> SessionGuard {
        let guard = AdvisoryLock::from(key).try_acquire(&self.pool).await;
        guard.unwrap().expect("nobody has it")
    }
}

impl Other for Original {
    fn describe(&self) -> String {
        format!("{} ({})", self.package, self.runtime)
    }

    async fn try_lock(&mut self, name: &str) -> Result<bool, String> {
        let answer = self.ask(json!({"do": "try", "name": name})).await?;
        Ok(answer["held"].as_bool().expect("it is true or false"))
    }

    async fn free(&mut self, name: &str) {
        self.ask(json!({"do": "free", "name": name})).await.unwrap();
    }

    async fn keys(&mut self, names: &[String]) -> Vec<Key> {
        let mut answer = self
            .ask(json!({"do": "keys", "names": names}))
            .await
            .unwrap();
        let keys = answer["keys"].take();
        let key = |key: &Value| Key::parse(key.as_str().expect("it is text")).unwrap();
        keys.as_array()
            .expect("it is a list")
            .iter()
            .map(key)
            .collect()
    }
}
