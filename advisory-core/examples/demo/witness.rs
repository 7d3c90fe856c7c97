//! Listens to what the library reports, so that nothing in the examples has to be told that it is
//! being watched.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::lane::{State, enter};

/// The span of every acquire: it opens when the call begins to wait, and its outcome is recorded
/// when the wait is over.
const ACQUIRE: &str = "advisory_lock";

/// Writes the library's waits into the lane of the worker that waits.
pub(crate) struct Witness;

impl Witness {
    pub(crate) fn install() {
        let subscriber = Registry::default().with(Self);
        tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Witness {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.name() == ACQUIRE
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        enter(State::Waiting);
        let is_shared = says(|said| attributes.record(said), "lock.mode", "shared");
        let granted = if is_shared {
            State::Sharing
        } else {
            State::Holding
        };
        let span = context.span(id).expect("the span has just been opened");
        span.extensions_mut().insert(granted);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if says(|said| record.record(said), "lock.outcome", "acquired") {
            let span = context.span(id).expect("the span is still open");
            let granted = span.extensions().get().copied();
            granted.into_iter().for_each(enter);
        }
    }
}

/// Whether one of the recorded fields has this value.
fn says(record: impl FnOnce(&mut Said), field: &'static str, value: &'static str) -> bool {
    let mut said = Said {
        field,
        value,
        is_so: false,
    };
    record(&mut said);
    said.is_so
}

struct Said {
    field: &'static str,
    value: &'static str,
    is_so: bool,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.is_so |= field.name() == self.field && value == self.value;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
