//! Much to do, on a few places.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use crate::place::Place;

/// Does all of it on so many lanes, each on a place of its own.
pub(crate) async fn side_by_side<T: Send + 'static, R: Send + 'static>(
    lanes: usize,
    all: impl Iterator<Item = T>,
    run: fn(T, Arc<Place>) -> BoxFuture<'static, R>,
) -> Vec<R> {
    let left: Arc<Mutex<VecDeque<T>>> = Arc::new(Mutex::new(all.collect()));
    let mut running = JoinSet::new();
    for _ in 0..lanes {
        let left = Arc::clone(&left);
        let next = move || left.lock().unwrap().pop_front();
        running.spawn(async move {
            let mut done = Vec::new();
            let mut place = Arc::new(Place::new().await);
            while let Some(one) = next() {
                if place.is_spoilt() {
                    place = Arc::new(Place::new().await);
                }
                done.push(run(one, Arc::clone(&place)).await);
            }
            done
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}
