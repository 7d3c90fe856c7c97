//! A story cut after one message, after two, and so on.

use std::sync::Arc;
use std::time::Duration;

use advisory_tests::{Cut, Side};

use crate::place::Place;
use crate::story::Story;
use crate::telling::{Complaint, Telling};

#[derive(Clone, Copy)]
pub(crate) struct Sweep {
    pub(crate) story: &'static Story,
    pub(crate) cut: Cut,
    pub(crate) side: Side,
    /// The first message that it is cut after, and how many there are from one to the next.
    first: usize,
    step: usize,
}

/// What became of a sweep.
#[derive(Clone)]
pub(crate) struct Swept {
    pub(crate) sweep: Sweep,
    /// How often it was cut.
    pub(crate) points: usize,
    pub(crate) longest: Duration,
    pub(crate) complaint: Option<Complaint>,
}

impl Sweep {
    pub(crate) fn new(story: &'static Story, cut: Cut, side: Side) -> Self {
        Self {
            story,
            cut,
            side,
            first: 1,
            step: 1,
        }
    }

    /// So many sweeps that make this one.
    pub(crate) fn shares(self, step: usize) -> impl Iterator<Item = Self> {
        (1..=step).map(move |first| Self {
            first,
            step,
            ..self
        })
    }

    /// Goes on until there is no message left to cut after, or something goes wrong.
    pub(crate) async fn run(self, place: Arc<Place>) -> Swept {
        let Self {
            story, cut, side, ..
        } = self;
        let place = Place::of(story, place).await;
        let mut telling = Telling::new(story, &place, cut == Cut::Silence).await;
        let mut points = 0;
        let complaint = loop {
            let n = self.first + points * self.step;
            match telling.tell(|proxy| proxy.cut_after(side, n, cut)).await {
                Ok(true) => points += 1,
                Ok(false) => break None,
                Err((wrong, what)) => {
                    let name = story.name;
                    let what = format!("{name}, {cut:?} after message {n} of the {side:?}: {what}");
                    break Some((wrong, what));
                }
            }
        };
        Swept {
            sweep: self,
            points,
            longest: telling.longest(),
            complaint,
        }
    }
}
