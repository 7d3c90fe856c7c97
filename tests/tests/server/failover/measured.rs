//! How long two bodies can run under one lock, and how long none does.
//!
//! The figures are measured over 20 failovers of each kind in full depth. `--nocapture` shows them.

use std::time::Duration;

use advisory_core::{AdvisoryLock, SessionGuard};
use advisory_tests::{Cut, Proxy, Shutdown, by_depth};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::pair::{Fault, Pair};
use super::timeline::Timeline;
use super::{PROBING, RESPONSE_TIMEOUT, SLACK, session_lock};

/// One of two services that compete for the lock, with a network of its own.
struct Service {
    proxy: Proxy,
    pool: PgPool,
}

impl Service {
    async fn of(proxy: Proxy) -> Self {
        let pool = proxy.pool(2).await;
        Self { proxy, pool }
    }
}

/// The figures of one failover.
struct Failover {
    /// From the fault to the end of the old holder's body.
    loss: Duration,
    /// How long PostgreSQL took to promote the standby.
    promotion: Duration,
    /// From the promotion to the start of the new holder's body.
    grant: Duration,
    /// How long both bodies ran, and how long neither did. One of the two is zero.
    overlap: Duration,
    gap: Duration,
    /// The fencing tokens of the old holder and of the new one.
    tokens: [i64; 2],
}

/// Fails over once. The holder loses the primary, the standby is promoted at once, and the waiting
/// rival gets the lock there.
async fn fail_over(pair: &Pair, fault: Fault, holder: &Service, rival: &Service) -> Failover {
    let (old, new) = (&pair.primary.database, &pair.standby.database);
    let (old_body, new_body) = (Timeline::endless(), Timeline::endless());
    // A holder notices the end of its server without a probe.
    let probing = match fault {
        Fault::Stopped(_) => Duration::from_hours(1),
        Fault::Silence => PROBING,
    };
    let lock = session_lock("leader").keepalive_interval(probing);
    let mut guard = lock.acquire(&holder.pool).await.unwrap();
    let first = guard.fencing_token().await.unwrap();
    let body = old_body.clone().wait();
    let holding = tokio::spawn(async move { guard.until_lost(body).await });
    let (enough, stopped) = oneshot::channel();
    let taking = tokio::spawn(lead(rival.pool.clone(), new_body.clone(), stopped));
    old_body.began().await;
    old.wait_until_waiting(1).await;

    // The rival notices the fault at once and the holder does not. If both noticed, there would be
    // nothing to measure.
    rival.proxy.set_target(new);
    let failed_at = Instant::now();
    pair.fail_primary(fault, &holder.proxy).await;
    if fault == Fault::Silence {
        rival.proxy.cut(Cut::Fin).await;
    }
    let requested = Instant::now();
    pair.promote().await;
    let promoted = Instant::now();
    let (began, ended) = (new_body.began().await, old_body.ended().await);
    assert!(holding.await.unwrap().unwrap_err().is_lost());
    new.wait_until_held(1).await;
    enough.send(()).unwrap();
    let second = taking.await.unwrap();

    holder.proxy.set_silent(false);
    if fault == Fault::Silence {
        old.assert_nothing_left().await;
    }
    new.assert_nothing_leaked(&holder.pool).await;
    new.assert_nothing_leaked(&rival.pool).await;
    Failover {
        loss: ended - failed_at,
        promotion: promoted - requested,
        grant: began.saturating_duration_since(promoted),
        overlap: ended.saturating_duration_since(began),
        gap: began.saturating_duration_since(ended),
        tokens: [first, second],
    }
}

/// Waits for the lock, runs the body under it, and returns its token.
async fn lead(pool: PgPool, timeline: Timeline, enough: oneshot::Receiver<()>) -> i64 {
    let mut guard = acquire_with_retries(&session_lock("leader").wait_forever(), &pool).await;
    let running = timeline.begin();
    let token = guard.fencing_token().await.unwrap();
    guard.until_lost(enough).await.unwrap().unwrap();
    drop(running);
    guard.release().await.unwrap();
    token
}

/// Retries until the lock is granted, as a service does that competes for it.
async fn acquire_with_retries(lock: &AdvisoryLock, pool: &PgPool) -> SessionGuard {
    loop {
        match lock.acquire(pool).await {
            Ok(guard) => return guard,
            // The server is a standby, or has stopped.
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The median and the maximum.
fn summary(failovers: &[Failover], figure: impl Fn(&Failover) -> Duration) -> (Duration, Duration) {
    let mut figures: Vec<_> = failovers.iter().map(figure).collect();
    figures.sort_unstable();
    (figures[figures.len() / 2], figures[figures.len() - 1])
}

fn print(killed: &[Failover], cut_off: &[Failover]) {
    println!(
        "{} failovers each; sessions probed every {PROBING:?}; a holder that is cut off is notified within {:?}",
        killed.len(),
        PROBING + RESPONSE_TIMEOUT
    );
    println!(
        "| {:43} | {:>14} | {:>9} | {:>15} | {:>9} |",
        "", "killed: median", "at most", "cut off: median", "at most"
    );
    println!(
        "|{:-<45}|{:->15}:|{:->10}:|{:->16}:|{:->10}:|",
        "", "", "", "", ""
    );
    let row = |what: &str, figure: fn(&Failover) -> Duration| {
        let ms = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0);
        let [killed, cut_off] = [killed, cut_off].map(|failovers| summary(failovers, figure));
        println!(
            "| {what:43} | {:>14} | {:>9} | {:>15} | {:>9} |",
            ms(killed.0),
            ms(killed.1),
            ms(cut_off.0),
            ms(cut_off.1)
        );
    };
    row("from the fault to the end of the old body", |f| f.loss);
    row("the promotion", |f| f.promotion);
    row("from the promotion to the new body", |f| f.grant);
    row("both bodies run", |f| f.overlap);
    row("neither body runs", |f| f.gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_overlap_no_longer_than_documented() {
    let count = by_depth(1, 20);
    let mut pair = Pair::start().await;
    let holder = Service::of(Proxy::start_tcp(&pair.primary.database)).await;
    let rival = Service::of(Proxy::start(&pair.primary.database).await).await;
    let (mut killed, mut cut_off) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let end = Fault::Stopped(Shutdown::Kill);
        killed.push(fail_over(&pair, end, &holder, &rival).await);
        pair = pair.next();
        cut_off.push(fail_over(&pair, Fault::Silence, &holder, &rival).await);
        pair = pair.next();
    }
    print(&killed, &cut_off);

    let in_turn = killed.iter().zip(&cut_off);
    let tokens: Vec<_> = in_turn
        .flat_map(|(killed, cut_off)| [killed.tokens, cut_off.tokens])
        .flatten()
        .collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    for (failovers, bound) in [
        (killed, Duration::ZERO),
        (cut_off, PROBING + RESPONSE_TIMEOUT),
    ] {
        for figure in [|f: &Failover| f.loss, |f: &Failover| f.overlap] {
            let (_, most) = summary(&failovers, figure);
            assert!(most < bound + SLACK, "{most:?} of {bound:?}");
        }
    }
}
