//! A `tracing` layer that records the library's spans, so that the examples need no code for the
//! chart.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::timeline::{State, enter};

/// The name of the span of every acquire. The span opens when the call begins to wait, and its
/// outcome is recorded when the wait ends.
const ACQUIRE: &str = "advisory_lock";

/// Records each wait for a lock in the timeline of the worker that waits.
pub(crate) struct AcquireLayer;

impl AcquireLayer {
    pub(crate) fn install() {
        let subscriber = Registry::default().with(Self);
        tracing::subscriber::set_global_default(subscriber).expect("no other subscriber is set");
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for AcquireLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.name() == ACQUIRE
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        enter(State::Waiting);
        let is_shared = has_field(|visitor| attributes.record(visitor), "lock.mode", "shared");
        let acquired = if is_shared {
            State::Sharing
        } else {
            State::Holding
        };
        let span = context.span(id).expect("the span has just been opened");
        span.extensions_mut().insert(acquired);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let is_acquired = has_field(|visitor| record.record(visitor), "lock.outcome", "acquired");
        if is_acquired {
            let span = context.span(id).expect("the span is still open");
            let acquired = span.extensions().get().copied();
            acquired.into_iter().for_each(enter);
        }
    }
}

/// Whether one of the recorded fields has this name and value.
fn has_field(
    record: impl FnOnce(&mut FieldMatcher),
    name: &'static str,
    value: &'static str,
) -> bool {
    let mut matcher = FieldMatcher {
        name,
        value,
        is_found: false,
    };
    record(&mut matcher);
    matcher.is_found
}

/// Visits the fields of a span and looks for one name and value.
struct FieldMatcher {
    name: &'static str,
    value: &'static str,
    is_found: bool,
}

impl Visit for FieldMatcher {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.is_found |= field.name() == self.name && value == self.value;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
