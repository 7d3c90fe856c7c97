//! The protocol of a lock session, checked in every order of events.
//!
//! The model drives the real [`Table`]. Around it are a PostgreSQL [server](server), the sessions
//! with their messages, the clients with their guards, and another process. What the model does
//! with an event and an outcome, [`owner.rs`](super::owner) does, too.
//!
//! Each configuration is small, and every state that can be reached in it is visited. A property
//! "at rest" holds where only choices are left: what a client, another process or a failure may do,
//! but need not. So a request that waits at rest would wait without an end.

mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model, Property};

use self::server::Server;
use super::table::{Answer, Limits, Manner, Message, Outcome, RequestId, SessionId, Table};
use crate::key::Key;
use crate::lock::{AdvisoryLock, LockId, Mode};

/// The number of the other process's session.
const OUTSIDER: SessionId = 0;
/// The session that is open at first.
const FIRST: SessionId = 1;
const LINES: [usize; 2] = [MAIN, SPARE];
const MAIN: usize = 0;
const SPARE: usize = 1;

/// A mistake that the checker is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A client is granted what the server grants, whoever holds it in this process.
    LocalHoldersAreIgnored,
    /// A new session is taken to hold what the lost one held.
    GuardsMoveToTheNewSession,
    /// The guards of a lost session are not told.
    LossIsKept,
    /// The session that queues leaves its unlocks to the first one.
    UnlocksGoToTheFirstSession,
    /// The message that was under way when its session was lost is forgotten.
    LostMessageIsForgotten,
    /// A session goes on queueing for what nobody wants.
    WaitGoesOn,
}

/// What a client does: it asks once, and releases what it gets.
#[derive(Clone, Debug)]
struct Plan {
    lock: LockId,
    manner: Manner,
}

#[derive(Clone, Debug)]
struct Process {
    plans: Vec<Plan>,
    /// What another process queues for.
    outsider: Option<(Key, Mode)>,
    has_spare: bool,
    /// Whether requests arrive in the order of their numbers.
    in_order: bool,
    limits: Limits,
    chances: Chances,
    bug: Option<Bug>,
}

/// How often something may happen that need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Chances {
    /// A session ends, or the owner gives it up.
    losses: u8,
    /// The server refuses a message with an error.
    errors: u8,
    /// A client is dropped while it waits.
    drops: u8,
    /// The server is asked again in vain.
    sweeps: u8,
    /// The time passes after which others get their chance.
    times: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    table: Table,
    server: Server,
    lines: [Line; 2],
    /// The sessions that the owner has closed and the server has not, with what is on its way.
    closed: Vec<(SessionId, Option<Work>)>,
    clients: Vec<Client>,
    outsider: Outsider,
    polls: BTreeSet<RequestId>,
    next_session: SessionId,
    clock: u8,
    left: Chances,
    /// How many clients were granted what the outsider queued for at that time.
    overtakes: u32,
}

/// As in `owner.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Line {
    Closed,
    Opening,
    Idle(SessionId),
    Busy(SessionId, Work, Progress),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Message(Message),
    Queue(LockId),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Progress {
    Sent,
    /// In the server's queue.
    Queueing,
    Granted,
    Answered(Answer),
    /// With an error that says that the lock table is full.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Absent,
    Waiting,
    /// The owner is yet to hear that it has been dropped; and, if it was granted the lock, that its
    /// guard was.
    Dropped {
        is_granted: bool,
    },
    Holding {
        session: SessionId,
        is_told: bool,
    },
    Releasing,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outsider {
    Absent,
    Present,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Arrive(usize),
    Drop(usize),
    /// The owner hears of the drop.
    Withdraw(usize),
    Release(usize),
    /// A message is sent.
    Send(usize),
    /// The server executes what was sent.
    Execute(usize),
    /// The server refuses what was sent.
    Refuse(usize),
    /// The owner reads the answer.
    Read(usize),
    /// A session ends.
    End(usize),
    /// The owner hears that a session has ended, or takes it for lost.
    Lose(usize),
    Open,
    Opened,
    OpenFails,
    OpenSpare,
    Queue,
    /// Everything that was refused is asked for again.
    Sweep(Hope),
    /// A client that polls asks again.
    Poll(usize, Hope),
    /// The server executes what a session was sent before the owner closed it.
    ExecuteClosed(SessionId),
    /// The server hears that a session was closed.
    EndClosed(SessionId),
    OutsiderArrives,
    OutsiderReleases,
    TimePasses,
}

/// Whether the server would grant something if it were asked again now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hope {
    Justified,
    Vain,
}

impl Model for Process {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut table = Table::new(self.limits);
        table.open(FIRST);
        let mut server = Server::default();
        server.sessions = BTreeSet::from([OUTSIDER, FIRST]);
        vec![State {
            table,
            server,
            lines: [Line::Idle(FIRST), Line::Closed],
            closed: Vec::new(),
            clients: vec![Client::Absent; self.plans.len()],
            outsider: match self.outsider {
                Some(_) => Outsider::Absent,
                None => Outsider::Done,
            },
            polls: BTreeSet::new(),
            next_session: FIRST + 1,
            clock: 0,
            left: self.chances,
            overtakes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.steps(state, actions);
        self.choices(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = Step {
            process: self,
            state: state.clone(),
        };
        next.act(action);
        (next.state != *state).then_some(next.state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NEVER_TWO, never_two),
            Property::always(HELD_ON_SERVER, held_on_server),
            Property::always(TOLD_OF_LOSS, told_of_loss),
            Property::always(NO_LOCK_WITHOUT_OWNER, no_lock_without_owner),
            Property::always(AS_NEW_AT_REST, as_new_at_rest),
            Property::always(EVERYBODY_IS_SERVED, everybody_is_served),
            Property::always(ASKED_ONCE, |_, state: &State| state.server.is_asked_once()),
            Property::always(OTHERS_GET_THEIR_CHANCE, others_get_their_chance),
        ]
    }
}

const NEVER_TWO: &str = "never two";
const HELD_ON_SERVER: &str = "what a guard holds is held on the server";
const TOLD_OF_LOSS: &str = "guards of a lost session are told";
const NO_LOCK_WITHOUT_OWNER: &str = "no lock without an owner";
const AS_NEW_AT_REST: &str = "as new at rest";
const EVERYBODY_IS_SERVED: &str = "everybody is served";
const ASKED_ONCE: &str = "the session is asked once";
const OTHERS_GET_THEIR_CHANCE: &str = "others get their chance";

fn never_two(process: &Process, state: &State) -> bool {
    let holders = state.holders(process);
    let excludes = |index: usize| {
        let (key, mode) = holders[index];
        let mut before = holders[..index].iter();
        before.any(|(other, held)| {
            key == *other && (mode == Mode::Exclusive || *held == Mode::Exclusive)
        })
    };
    !(0..holders.len()).any(excludes)
}

fn held_on_server(process: &Process, state: &State) -> bool {
    let server = &state.server;
    let mut guards = state.guards(process);
    guards.all(|(session, key, mode, _)| {
        !server.sessions.contains(&session) || server.holds(session, key, mode)
    })
}

fn told_of_loss(process: &Process, state: &State) -> bool {
    let is_open = |session| {
        let mut lines = state.lines.iter();
        lines.any(|line| line.session() == Some(session))
    };
    let mut guards = state.guards(process);
    guards.all(|(session, .., is_told)| is_told || is_open(session))
}

fn no_lock_without_owner(_: &Process, state: &State) -> bool {
    state.lines.iter().all(|line| match *line {
        Line::Idle(session) => state.table.holds(session) || state.server.is_clear_of(session),
        _ => true,
    })
}

fn as_new_at_rest(process: &Process, state: &State) -> bool {
    if !state.is_unused() || process.has_steps(state) {
        return true;
    }
    let (mut new, mut used) = (Table::new(process.limits), state.table.clone());
    new.open(FIRST);
    used.open(FIRST);
    new == used
}

fn everybody_is_served(process: &Process, state: &State) -> bool {
    let mut clients = state.clients.iter();
    clients.all(|client| matches!(client, Client::Absent | Client::Done))
        || process.has_steps(state)
}

fn others_get_their_chance(process: &Process, state: &State) -> bool {
    // One more can be granted by an answer that is under way when others arrive.
    state.overtakes <= process.limits.hand_overs + 1
}

impl Process {
    /// What happens sooner or later.
    fn steps(&self, state: &State, actions: &mut Vec<Action>) {
        for (client, phase) in state.clients.iter().enumerate() {
            match phase {
                Client::Holding { .. } => actions.push(Action::Release(client)),
                Client::Dropped { .. } => actions.push(Action::Withdraw(client)),
                _ => {}
            }
        }
        for line in LINES {
            state.line_steps(line, actions);
        }
        let is_wanted = !state.table.waiting().is_empty();
        if is_wanted && state.lines[MAIN] == Line::Closed {
            actions.push(Action::Open);
        }
        let ends = state.closed.iter().map(|(session, _)| *session);
        actions.extend(ends.map(Action::EndClosed));
        if let Some((key, mode)) = self.outsider
            && state.server.holds(OUTSIDER, key, mode)
        {
            actions.push(Action::OutsiderReleases);
        }
        self.ask_again(state, Hope::Justified, actions);
    }

    /// What may happen, and need not.
    fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        let absent = |client: &usize| state.clients[*client] == Client::Absent;
        let mut absent = (0..state.clients.len()).filter(absent).map(Action::Arrive);
        if self.in_order {
            actions.extend(absent.next());
        } else {
            actions.extend(absent);
        }
        if state.left.drops > 0 {
            for (client, phase) in state.clients.iter().enumerate() {
                if matches!(phase, Client::Waiting | Client::Holding { .. }) {
                    actions.push(Action::Drop(client));
                }
            }
        }
        for line in LINES {
            state.line_choices(line, actions);
        }
        for (session, work) in &state.closed {
            if work.is_some() {
                actions.push(Action::ExecuteClosed(*session));
            }
        }
        if state.is_to_queue() && self.has_spare {
            match state.lines[SPARE] {
                Line::Closed => actions.push(Action::OpenSpare),
                Line::Idle(session) if !state.table.holds(session) => actions.push(Action::Queue),
                _ => {}
            }
        }
        if state.outsider == Outsider::Absent {
            actions.push(Action::OutsiderArrives);
        }
        if state.left.times > 0 {
            actions.push(Action::TimePasses);
        }
        if state.left.sweeps > 0 {
            self.ask_again(state, Hope::Vain, actions);
        }
    }

    fn ask_again(&self, state: &State, hope: Hope, actions: &mut Vec<Action>) {
        let mut asks = Vec::new();
        asks.extend(state.table.longest_refused().map(|_| Action::Sweep(hope)));
        let polls = state.polls.iter().map(|id| Action::Poll(index(*id), hope));
        asks.extend(polls);
        asks.retain(|ask| self.is_granted_after(state, *ask) == (hope == Hope::Justified));
        actions.append(&mut asks);
    }

    fn is_granted_after(&self, state: &State, ask: Action) -> bool {
        let Line::Idle(session) = state.lines[MAIN] else {
            return false;
        };
        if !state.server.sessions.contains(&session) {
            return false;
        }
        let mut next = Step {
            process: self,
            state: state.clone(),
        };
        next.act(ask);
        let State { table, server, .. } = &mut next.state;
        let message = table.message(session, true, state.now());
        message.is_some_and(|message| server.execute(session, &message).granted.contains(&true))
    }

    fn has_steps(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        self.steps(state, &mut steps);
        let mut steps = steps.into_iter();
        steps.any(|step| self.next_state(state, step).is_some())
    }
}

impl State {
    fn now(&self) -> Duration {
        Duration::from_secs(self.clock.into())
    }

    fn line_steps(&self, line: usize, actions: &mut Vec<Action>) {
        let session = self.lines[line].session();
        let is_alive = session.is_some_and(|session| self.server.sessions.contains(&session));
        match &self.lines[line] {
            Line::Closed => {}
            Line::Opening => actions.push(Action::Opened),
            Line::Idle(_) if is_alive => actions.push(Action::Send(line)),
            Line::Idle(_) => actions.push(Action::Lose(line)),
            Line::Busy(_, _, Progress::Sent) if is_alive => actions.push(Action::Execute(line)),
            Line::Busy(session, _, Progress::Queueing) if is_alive => {
                if !self.server.is_waiting(*session) {
                    actions.push(Action::Read(line));
                }
            }
            Line::Busy(_, _, Progress::Sent | Progress::Queueing) => {
                actions.push(Action::Lose(line));
            }
            // The answer arrives before the end of the session, or not at all.
            Line::Busy(..) => {
                actions.push(Action::Read(line));
                if !is_alive {
                    actions.push(Action::Lose(line));
                }
            }
        }
    }

    fn line_choices(&self, line: usize, actions: &mut Vec<Action>) {
        let session = self.lines[line].session();
        let is_alive = session.is_some_and(|session| self.server.sessions.contains(&session));
        if self.lines[line] == Line::Opening && self.left.losses > 0 {
            actions.push(Action::OpenFails);
        }
        if is_alive && self.left.losses > 0 {
            actions.extend([Action::End(line), Action::Lose(line)]);
        }
        if !is_alive && matches!(self.lines[line], Line::Idle(_)) {
            actions.push(Action::Send(line));
        }
        if let Line::Busy(_, Work::Message(_), Progress::Sent) = self.lines[line]
            && is_alive
            && self.left.errors > 0
        {
            actions.push(Action::Refuse(line));
        }
    }

    fn is_to_queue(&self) -> bool {
        self.table.longest_refused().is_some() && self.lines[MAIN] != Line::Closed
    }

    /// The session, the key and the mode of each guard, and whether it was told of a loss.
    fn guards<'a>(
        &'a self,
        process: &'a Process,
    ) -> impl Iterator<Item = (SessionId, Key, Mode, bool)> + 'a {
        let clients = self.clients.iter().zip(&process.plans);
        clients.flat_map(|(client, plan)| {
            let keys = match client {
                Client::Holding { .. } => plan.lock.keys(),
                _ => &[],
            };
            keys.iter().filter_map(|key| match *client {
                Client::Holding { session, is_told } => {
                    Some((session, *key, plan.lock.mode(), is_told))
                }
                _ => None,
            })
        })
    }

    /// Who holds a key: guards of sessions that have not ended, and the outsider.
    fn holders(&self, process: &Process) -> Vec<(Key, Mode)> {
        let guards = self.guards(process);
        let guards = guards.filter(|(session, ..)| self.server.sessions.contains(session));
        let outsider = process.outsider.into_iter();
        let outsider = outsider.filter(|(key, mode)| self.server.holds(OUTSIDER, *key, *mode));
        let guards = guards.map(|(_, key, mode, _)| (key, mode));
        guards.chain(outsider).collect()
    }

    /// Whether no client holds or wants anything.
    fn is_unused(&self) -> bool {
        let mut clients = self.clients.iter();
        clients.all(|client| matches!(client, Client::Absent | Client::Done))
    }
}

impl Line {
    fn session(&self) -> Option<SessionId> {
        match self {
            Self::Closed | Self::Opening => None,
            Self::Idle(session) | Self::Busy(session, ..) => Some(*session),
        }
    }
}

/// A state on its way to the next one.
struct Step<'p> {
    process: &'p Process,
    state: State,
}

impl Step<'_> {
    fn act(&mut self, action: Action) {
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
                self.state.outsider = Outsider::Present;
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
                Outcome::Refused(id) | Outcome::Failed(id) => self.answer(id),
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

    fn granted(&mut self, id: RequestId, session: SessionId) {
        self.count_overtakes(id);
        let client = self.client(id);
        match client {
            Client::Waiting => {
                let is_told = false;
                *client = Client::Holding { session, is_told };
            }
            // The grant is dropped, and the owner hears of both drops.
            Client::Dropped { is_granted } => *is_granted = true,
            _ => {
                let outcomes = self.state.table.release(id, self.state.now());
                self.tell(outcomes);
            }
        }
    }

    fn count_overtakes(&mut self, id: RequestId) {
        let lock = &self.process.plans[index(id)].lock;
        if let Some((key, _)) = self.process.outsider
            && lock.keys().contains(&key)
            && lock.mode() == Mode::Exclusive
            && !self.process.has_spare
            && self.state.server.is_waiting(OUTSIDER)
        {
            self.state.overtakes += 1;
        }
    }

    fn answer(&mut self, id: RequestId) {
        let client = self.client(id);
        if *client == Client::Waiting {
            *client = Client::Done;
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
        if let Some(message) = self.state.table.message(session, true, now) {
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
            for (key, mode) in unlocks.chain(tries) {
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
                if let Client::Holding { is_told: true, .. } = client {
                    let is_told = false;
                    *client = Client::Holding { session, is_told };
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
            self.answer(id);
        }
    }

    fn queue(&mut self) {
        let now = self.state.now();
        if let Line::Idle(session) = self.state.lines[SPARE]
            && let Some(lock) = self.state.table.queue(session, now)
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

fn id(client: usize) -> RequestId {
    client as RequestId + 1
}

fn index(id: RequestId) -> usize {
    usize::try_from(id).expect("a small number") - 1
}

impl Default for Process {
    fn default() -> Self {
        Self {
            plans: Vec::new(),
            outsider: None,
            has_spare: false,
            in_order: true,
            limits: Limits {
                hand_overs: 1,
                time: Duration::from_secs(1),
                keys: 10,
            },
            chances: Chances::default(),
            bug: None,
        }
    }
}

fn plan(keys: &[i64], mode: Mode, manner: Manner) -> Plan {
    let lock = AdvisoryLock::all(keys.iter().map(|key| Key::BigInt(*key)));
    let lock = match mode {
        Mode::Exclusive => lock,
        Mode::Shared => lock.shared(),
    };
    Plan {
        lock: lock.id().without_name(),
        manner,
    }
}

/// All plans for these keys.
fn plans(locks: &[&[i64]], manners: &[Manner]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for keys in locks {
        for mode in [Mode::Exclusive, Mode::Shared] {
            plans.extend(manners.iter().map(|manner| plan(keys, mode, *manner)));
        }
    }
    plans
}

/// So many clients, each with each of the plans.
fn combinations(clients: u32, plans: &[Plan]) -> Vec<Vec<Plan>> {
    let mut combinations = vec![Vec::new()];
    for _ in 0..clients {
        let longer = combinations.iter().flat_map(|fewer: &Vec<Plan>| {
            let one_more = |plan: &Plan| [&fewer[..], std::slice::from_ref(plan)].concat();
            plans.iter().map(one_more)
        });
        combinations = longer.collect();
    }
    combinations
}

/// Checks the process with each combination of clients.
fn check(process: &Process, combinations: Vec<Vec<Plan>>) {
    let mut states = 0;
    let configurations = combinations.len();
    for plans in combinations {
        let process = Process {
            plans,
            ..process.clone()
        };
        let plans = process.plans.clone();
        let checker = process.checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = checker.spawn_bfs().join();
        states += checker.unique_state_count();
        for (property, path) in checker.discoveries() {
            panic!(
                "not \"{property}\": {plans:#?} after {:#?} in {:#?}",
                path.clone().into_actions(),
                path.last_state()
            );
        }
    }
    println!("{configurations} configurations, {states} states");
}

const KEY: Key = Key::BigInt(1);
const NONE: Chances = Chances {
    losses: 0,
    errors: 0,
    drops: 0,
    sweeps: 0,
    times: 0,
};
const MANNERS: [Manner; 3] = [Manner::Waits, Manner::Tries, Manner::Polls];
const LOCKS: [&[i64]; 3] = [&[1], &[1, 2], &[2]];

#[test]
fn two_clients_are_dropped_at_any_time() {
    let process = Process {
        chances: Chances {
            drops: 2,
            sweeps: 1,
            ..NONE
        },
        ..Process::default()
    };
    check(&process, combinations(2, &plans(&LOCKS, &MANNERS)));
}

#[test]
fn three_clients_arrive_in_any_order() {
    let process = Process {
        in_order: false,
        chances: Chances { drops: 1, ..NONE },
        ..Process::default()
    };
    let plans = plans(&LOCKS[..1], &[Manner::Waits, Manner::Tries]);
    check(&process, combinations(3, &plans));
}

#[test]
fn three_clients_want_overlapping_keys() {
    let process = Process {
        ..Process::default()
    };
    check(&process, combinations(3, &plans(&LOCKS, &[Manner::Waits])));
}

#[test]
fn messages_are_split_and_fail() {
    let mut process = Process {
        chances: Chances {
            drops: 1,
            errors: 1,
            ..NONE
        },
        ..Process::default()
    };
    process.limits.keys = 1;
    check(
        &process,
        combinations(2, &plans(&LOCKS, &[Manner::Waits, Manner::Tries])),
    );
}

#[test]
fn a_session_is_lost_at_any_time() {
    let process = Process {
        chances: Chances {
            losses: 1,
            drops: 1,
            ..NONE
        },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS[..2], &[Manner::Waits, Manner::Tries])),
    );
}

#[test]
fn two_sessions_are_lost_in_a_row() {
    let process = Process {
        chances: Chances { losses: 2, ..NONE },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS[..1], &[Manner::Waits])),
    );
}

#[test]
fn another_process_competes_with_one_session() {
    for mode in [Mode::Exclusive, Mode::Shared] {
        let process = Process {
            outsider: Some((KEY, mode)),
            chances: Chances {
                drops: 1,
                sweeps: 1,
                ..NONE
            },
            ..Process::default()
        };
        check(&process, combinations(2, &plans(&LOCKS[..2], &MANNERS)));
    }
}

#[test]
fn another_process_gets_its_chance() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        chances: Chances { times: 2, ..NONE },
        ..Process::default()
    };
    let shared = plan(&[1], Mode::Shared, Manner::Waits);
    let exclusive = plan(&[1], Mode::Exclusive, Manner::Waits);
    check(&process, combinations(3, &[shared]));
    check(&process, combinations(3, &[exclusive]));
}

#[test]
fn a_second_session_queues() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        has_spare: true,
        chances: Chances { drops: 1, ..NONE },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS[..2], &[Manner::Waits, Manner::Tries])),
    );
}

#[test]
fn a_session_is_lost_while_another_queues() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        has_spare: true,
        chances: Chances { losses: 1, ..NONE },
        ..Process::default()
    };
    check(
        &process,
        combinations(2, &plans(&LOCKS[..1], &[Manner::Waits])),
    );
}

/// Checks that a property fails with a mistake, and holds without.
fn finds(bug: Bug, properties: &[&'static str], process: &Process) {
    let waits = plan(&[1], Mode::Exclusive, Manner::Waits);
    let plans = vec![waits.clone(), waits];
    check(process, vec![plans.clone()]);
    for property in properties {
        let process = Process {
            plans: plans.clone(),
            bug: Some(bug),
            ..process.clone()
        };
        let is_found = HasDiscoveries::AnyOf(BTreeSet::from([*property]));
        let checker = process.checker().finish_when(is_found).spawn_bfs().join();
        checker.assert_any_discovery(property);
    }
}

#[test]
fn second_grant_of_a_held_key_is_found() {
    let bug = Bug::LocalHoldersAreIgnored;
    finds(bug, &[NEVER_TWO, ASKED_ONCE], &Process::default());
}

#[test]
fn guards_that_outlive_their_session_are_found() {
    let process = Process {
        chances: Chances { losses: 1, ..NONE },
        ..Process::default()
    };
    let moved = [NEVER_TWO, HELD_ON_SERVER];
    finds(Bug::GuardsMoveToTheNewSession, &moved, &process);
    finds(Bug::LossIsKept, &[TOLD_OF_LOSS], &process);
    finds(
        Bug::LostMessageIsForgotten,
        &[EVERYBODY_IS_SERVED],
        &process,
    );
}

#[test]
fn locks_without_an_owner_are_found() {
    let process = Process {
        outsider: Some((KEY, Mode::Exclusive)),
        has_spare: true,
        chances: Chances { drops: 1, ..NONE },
        ..Process::default()
    };
    let wrong_session = Bug::UnlocksGoToTheFirstSession;
    finds(
        wrong_session,
        &[NO_LOCK_WITHOUT_OWNER, EVERYBODY_IS_SERVED],
        &process,
    );
    finds(Bug::WaitGoesOn, &[NO_LOCK_WITHOUT_OWNER], &process);
}
