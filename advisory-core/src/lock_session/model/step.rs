//! What an action does: to the server, or by the owner to the table.

use super::property::{NONE_OVERTAKEN, OTHERS_GET_THEIR_CHANCE};
use super::*;

/// A state on its way to the next one.
pub(super) struct Step<'p> {
    pub(super) process: &'p Process,
    pub(super) state: State,
}

impl Step<'_> {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Arrive(client) => self.arrive(client),
            Action::Drop(client) => self.drop(client),
            Action::Withdraw(client) => self.withdraw(client),
            Action::Release(client) => self.release(client),
            Action::Send(line) => self.send(line),
            Action::Execute(line) => self.execute(line),
            Action::Refuse(line) => self.refuse(line),
            Action::Read(line) => self.read(line),
            Action::End(line) => self.end(line),
            Action::Lose(line) => self.lose(line),
            Action::Open => self.state.lines[MAIN] = Line::Opening,
            Action::Opened => self.opened(),
            Action::OpenFails => self.open_fails(),
            Action::OpenSpare => {
                let session = self.new_session();
                self.state.lines[SPARE] = Line::Idle(session);
            }
            Action::Queue => self.queue(),
            Action::Sweep(hope) => {
                self.spend_sweep(hope);
                self.state.table.sweep();
            }
            Action::Poll(client, hope) => {
                self.spend_sweep(hope);
                self.poll(client);
            }
            Action::ExecuteClosed(session) => self.execute_closed(session),
            Action::EndClosed(session) => {
                self.state.closed.retain(|(closed, _)| *closed != session);
                self.state.server.end(session);
            }
            Action::OutsiderArrives => {
                self.state.outsider = Outsider::Present {
                    since: self.state.clock,
                };
                if let Some((key, mode)) = self.process.outsider {
                    self.state.server.lock(OUTSIDER, &[key], mode);
                }
            }
            Action::OutsiderReleases => {
                self.state.outsider = Outsider::Done;
                self.state.overtakes = 0;
                if let Some((key, mode)) = self.process.outsider {
                    self.state.server.unlock(OUTSIDER, key, mode);
                }
            }
            Action::TimePasses => {
                self.state.left.times -= 1;
                self.state.clock += 1;
            }
        }
    }

    fn arrive(&mut self, client: usize) {
        self.state.clients[client] = Client::Waiting;
        let Plan { lock, manner } = self.process.plans[client].clone();
        if self.process.bug == Some(Bug::LocalHoldersAreIgnored)
            && self.state.lines[MAIN] == Line::Idle(FIRST)
            && self.state.server.try_lock(FIRST, &lock)
        {
            return self.granted(id(client), FIRST);
        }
        let now = self.state.now();
        let outcomes = self.state.table.arrive(id(client), lock, manner, now);
        self.tell(outcomes);
    }

    fn drop(&mut self, client: usize) {
        self.state.left.drops -= 1;
        let is_granted = self.state.clients[client] != Client::Waiting;
        self.state.clients[client] = Client::Dropped { is_granted };
    }

    fn withdraw(&mut self, client: usize) {
        let now = self.state.now();
        let was = self.state.clients[client];
        self.state.clients[client] = Client::Done;
        self.state.polls.remove(&id(client));
        let outcomes = self.state.table.withdraw(id(client), now);
        self.tell(outcomes);
        if was == (Client::Dropped { is_granted: true }) {
            let outcomes = self.state.table.release(id(client), now);
            self.tell(outcomes);
        }
    }

    fn release(&mut self, client: usize) {
        if !self.state.table.is_held(id(client)) {
            self.state.clients[client] = Client::Done;
            return;
        }
        self.state.clients[client] = Client::Releasing;
        let now = self.state.now();
        let outcomes = self.state.table.release(id(client), now);
        self.tell(outcomes);
    }

    fn tell(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Granted(id, session) => self.granted(id, session),
                Outcome::Refused(id) => self.answer(id, Client::Refused),
                Outcome::Failed(id) => self.answer(id, Client::Done),
                Outcome::Paused(id) => {
                    self.state.polls.insert(id);
                }
                Outcome::Released(id, _) => {
                    let client = self.client(id);
                    if *client == Client::Releasing {
                        *client = Client::Done;
                    }
                }
                Outcome::EndWait(session) => self.end_wait(session),
            }
        }
    }

    fn client(&mut self, id: RequestId) -> &mut Client {
        &mut self.state.clients[index(id)]
    }

    /// Notes whether the clients that came first, and the outsider, have to wait for too long.
    fn count_overtakes(&mut self, id: RequestId) {
        let (process, state) = (self.process, &mut self.state);
        let plan = &process.plans[index(id)];
        let mut before = process.plans.iter().zip(&state.clients).take(index(id));
        // One that polls is in the queue only while it asks.
        let is_first = |(first, client): (&Plan, &Client)| {
            *client == Client::Waiting && first.manner != Manner::Polls && first.excludes(plan)
        };
        if process.in_order && before.any(is_first) {
            state.violated.insert(NONE_OVERTAKEN);
        }
        let is_overtaken = process
            .outsider
            .is_some_and(|outsider| plan.is_excluded_by(outsider))
            && state.server.is_waiting(OUTSIDER);
        if process.has_spare || !is_overtaken {
            return;
        }
        state.overtakes += u32::from(plan.lock.mode() == Mode::Exclusive);
        // One more can be granted by an answer that is under way when the outsider arrives.
        let is_often = state.overtakes > process.limits.hand_overs + 1;
        let since = state.clock;
        let is_late = state.outsider != Outsider::Present { since };
        if is_often || is_late {
            state.violated.insert(OTHERS_GET_THEIR_CHANCE);
        }
    }

    fn granted(&mut self, id: RequestId, session: SessionId) {
        self.count_overtakes(id);
        let plan = &self.process.plans[index(id)];
        let held = self.state.table.held_lock(id);
        let slot = plan.lock.semaphore().and(held).map(|lock| lock.keys()[0]);
        let client = self.client(id);
        match client {
            Client::Waiting => {
                let is_told = false;
                *client = Client::Holding {
                    session,
                    slot,
                    is_told,
                };
            }
            // The grant is dropped, and the owner hears of both drops.
            Client::Dropped { is_granted } => *is_granted = true,
            _ => {
                let outcomes = self.state.table.release(id, self.state.now());
                self.tell(outcomes);
            }
        }
    }

    fn answer(&mut self, id: RequestId, answer: Client) {
        let client = self.client(id);
        if *client == Client::Waiting {
            *client = answer;
        }
    }

    fn end_wait(&mut self, session: SessionId) {
        if self.process.bug == Some(Bug::WaitGoesOn) {
            return;
        }
        if let Line::Busy(waits, Work::Queue(_), _) = self.state.lines[SPARE]
            && waits == session
        {
            self.close(SPARE);
        }
    }

    /// The owner closes a session, of which the server hears later.
    fn close(&mut self, line: usize) {
        let closed = std::mem::replace(&mut self.state.lines[line], Line::Closed);
        let Some(session) = closed.session() else {
            return;
        };
        if self.state.server.sessions.contains(&session) {
            let work = match closed {
                Line::Busy(_, work, Progress::Sent) => Some(work),
                _ => None,
            };
            self.state.closed.push((session, work));
        }
        if self.process.bug == Some(Bug::LossIsKept) {
            return;
        }
        for client in &mut self.state.clients {
            if let Client::Holding {
                session: of,
                is_told,
                ..
            } = client
                && *of == session
            {
                *is_told = true;
            }
        }
    }

    fn send(&mut self, line: usize) {
        let now = self.state.now();
        let Line::Idle(session) = self.state.lines[line] else {
            return;
        };
        // The owner looks again from time to time. Here, when there is something to see.
        let has_gone = self.state.table.is_awaited() && !self.state.server.is_waiting(OUTSIDER);
        let look = if has_gone { Look::Now } else { Look::IfNeeded };
        if let Some(message) = self.state.table.message(session, look, now) {
            let work = Work::Message(message);
            self.state.lines[line] = Line::Busy(session, work, Progress::Sent);
        }
    }

    fn execute(&mut self, line: usize) {
        let State { lines, server, .. } = &mut self.state;
        let first = lines[MAIN].session();
        let Line::Busy(session, work, progress) = &mut lines[line] else {
            return;
        };
        let is_misled = self.process.bug == Some(Bug::UnlocksGoToTheFirstSession);
        *progress = match work {
            Work::Message(message) => {
                let session = first.filter(|_| is_misled).unwrap_or(*session);
                Progress::Answered(server.execute(session, message))
            }
            Work::Queue(lock) => {
                server.lock(*session, lock.keys(), lock.mode());
                Progress::Queueing
            }
        };
    }

    /// The server refuses a message, after which everything in it is unlocked.
    fn refuse(&mut self, line: usize) {
        self.state.left.errors -= 1;
        let State { lines, server, .. } = &mut self.state;
        if let Line::Busy(session, Work::Message(message), progress) = &mut lines[line] {
            let unlocks = message.unlocks.iter();
            let unlocks = unlocks.map(|unlock| (unlock.key, unlock.mode));
            let tries = message.tries.iter().map(|(_, lock)| lock);
            let tries = tries.flat_map(|lock| lock.keys().iter().map(|key| (*key, lock.mode())));
            let picks = message.picks.iter().flat_map(|pick| &pick.slots);
            let picks = picks.map(|slot| (*slot, Mode::Exclusive));
            for (key, mode) in unlocks.chain(tries).chain(picks) {
                server.unlock(*session, key, mode);
            }
            *progress = Progress::Refused;
        }
    }

    fn read(&mut self, line: usize) {
        let now = self.state.now();
        let session = self.state.lines[line].session().unwrap_or_default();
        let busy = std::mem::replace(&mut self.state.lines[line], Line::Idle(session));
        let table = &mut self.state.table;
        let outcomes = match busy {
            Line::Busy(_, Work::Message(message), Progress::Answered(answer)) => {
                table.answered(&message, &answer, now)
            }
            Line::Busy(_, Work::Message(message), _) => table.failed(&message, true, now),
            Line::Busy(..) => table.queue_granted(session, now),
            _ => Vec::new(),
        };
        self.tell(outcomes);
    }

    fn end(&mut self, line: usize) {
        self.state.left.losses -= 1;
        let State { lines, server, .. } = &mut self.state;
        if let Line::Busy(session, _, progress @ Progress::Queueing) = &mut lines[line]
            && !server.is_waiting(*session)
        {
            *progress = Progress::Granted;
        }
        if let Some(session) = lines[line].session() {
            server.end(session);
        }
    }

    fn lose(&mut self, line: usize) {
        let Some(session) = self.state.lines[line].session() else {
            return;
        };
        if self.state.server.sessions.contains(&session) {
            self.state.left.losses -= 1;
        }
        let under_way = match &self.state.lines[line] {
            Line::Busy(_, Work::Message(message), _) => Some(message.clone()),
            _ => None,
        };
        let is_kept = self.process.bug != Some(Bug::LostMessageIsForgotten);
        let under_way = under_way.filter(|_| is_kept);
        self.close(line);
        let now = self.state.now();
        let outcomes = self.state.table.lost(session, under_way.as_ref(), now);
        self.tell(outcomes);
        // The sessions that queue go with the first one.
        if line == MAIN
            && let Line::Busy(session, Work::Queue(_), _) = self.state.lines[SPARE]
        {
            self.close(SPARE);
            let outcomes = self.state.table.queue_ended(session, now);
            self.tell(outcomes);
        }
    }

    fn new_session(&mut self) -> SessionId {
        let session = self.state.next_session;
        self.state.next_session += 1;
        self.state.server.sessions.insert(session);
        session
    }

    fn opened(&mut self) {
        let session = self.new_session();
        self.state.table.open(session);
        self.state.table.sweep();
        self.state.lines[MAIN] = Line::Idle(session);
        if self.process.bug == Some(Bug::GuardsMoveToTheNewSession) {
            for client in &mut self.state.clients {
                if let Client::Holding {
                    session: of,
                    is_told,
                    ..
                } = client
                    && *is_told
                {
                    (*of, *is_told) = (session, false);
                }
            }
        }
    }

    fn open_fails(&mut self) {
        self.state.left.losses -= 1;
        self.state.lines[MAIN] = Line::Closed;
        let now = self.state.now();
        for id in self.state.table.waiting().clone() {
            let outcomes = self.state.table.withdraw(id, now);
            self.tell(outcomes);
            self.answer(id, Client::Done);
        }
    }

    fn queue(&mut self) {
        let now = self.state.now();
        if let Line::Idle(session) = self.state.lines[SPARE]
            && let Some((_, lock)) = self.state.table.queue(session, now)
        {
            self.state.lines[SPARE] = Line::Busy(session, Work::Queue(lock), Progress::Sent);
        }
    }

    fn spend_sweep(&mut self, hope: Hope) {
        if hope == Hope::Vain {
            self.state.left.sweeps = self.state.left.sweeps.saturating_sub(1);
        }
    }

    fn poll(&mut self, client: usize) {
        let now = self.state.now();
        self.state.polls.remove(&id(client));
        let outcomes = self.state.table.ask_again(id(client), now);
        self.tell(outcomes);
    }

    fn execute_closed(&mut self, session: SessionId) {
        let State { closed, server, .. } = &mut self.state;
        let mut closed = closed.iter_mut().filter(|(closed, _)| *closed == session);
        match closed.next().and_then(|(_, work)| work.take()) {
            Some(Work::Message(message)) => {
                server.execute(session, &message);
            }
            Some(Work::Queue(lock)) => server.lock(session, lock.keys(), lock.mode()),
            None => {}
        }
    }
}
