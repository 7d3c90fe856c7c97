//! `target_session_attrs`: which of several servers is wanted.

use sqlx::postgres::PgConnection;

use super::settings::Settings;
use crate::exit::Failure;
use crate::sql;

/// The server that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionAttributes {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// A standby, or any server if there is no standby.
    PreferStandby,
}

impl SessionAttributes {
    /// What the settings say, or else `default`.
    pub(super) fn read(settings: &Settings, default: Self) -> Result<Self, Failure> {
        Ok(match settings.get("target_session_attrs") {
            None => default,
            Some("any") => Self::Any,
            Some("read-write") => Self::ReadWrite,
            Some("read-only") => Self::ReadOnly,
            Some("primary") => Self::Primary,
            Some("standby") => Self::Standby,
            Some("prefer-standby") => Self::PreferStandby,
            Some(_) => {
                let expected = "expected one of `any`, `read-write`, `read-only`, `primary`, \
                                `standby`, `prefer-standby`";
                return Err(settings.failure("target_session_attrs", expected));
            }
        })
    }

    /// What is looked for in each pass over the hosts.
    pub(super) fn passes(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// Why a session is not wanted; `None` if it is.
    pub(super) async fn mismatch(
        self,
        conn: &mut PgConnection,
    ) -> Result<Option<&'static str>, sqlx::Error> {
        if self == Self::Any {
            return Ok(None);
        }
        let sql::ServerState {
            is_standby,
            is_read_only,
        } = sql::server_state(conn).await?;
        Ok(match self {
            Self::ReadWrite if is_read_only => Some("it is read-only"),
            Self::ReadOnly if !is_read_only => Some("it is read-write"),
            Self::Primary if is_standby => Some("it is a standby"),
            Self::Standby if !is_standby => Some("it is a primary"),
            _ => None,
        })
    }
}
