//! The protocol of a lock session, checked in every order of events.
//!
//! The model drives the real [`Table`]. Around it are a PostgreSQL [server](server), the sessions
//! with their messages, the clients with their guards, and another process. What the model does
//! with an event and an outcome, [`owner.rs`](super::owner) does, too.
//!
//! Each configuration is small, and every state that can be reached in it is visited. A property
//! "at rest" holds where only choices are left: what a client, another process or a failure may do,
//! but need not. So a request that waits at rest would wait without an end.

mod configuration;
mod property;
mod server;
mod step;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use stateright::{Model, Property};

use self::server::Server;
use self::step::Step;
use super::table::{Answer, Limits, Look, Manner, Message, Outcome, RequestId, SessionId, Table};
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
    /// A client is granted what the server grants, although another one holds it in this process.
    LocalHoldersAreIgnored,
    /// A new session is taken to hold what the lost one held.
    GuardsMoveToTheNewSession,
    /// The guards of a lost session are not notified.
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
    /// Whether the first client may hold what it gets without an end.
    has_keeper: bool,
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
    /// How many clients were granted what the outsider queues for.
    overtakes: u32,
    /// The properties that an event has violated.
    violated: BTreeSet<&'static str>,
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
        /// Of a lock with several permits.
        slot: Option<Key>,
        is_told: bool,
    },
    Releasing,
    Refused,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outsider {
    Absent,
    Present { since: u8 },
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
            violated: BTreeSet::new(),
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
        property::all()
    }
}

impl Process {
    /// What happens sooner or later.
    fn steps(&self, state: &State, actions: &mut Vec<Action>) {
        for (client, phase) in state.clients.iter().enumerate() {
            match phase {
                Client::Holding { .. } if !self.keeps(client) => {
                    actions.push(Action::Release(client));
                }
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
        if self.keeps(0) && matches!(state.clients[0], Client::Holding { .. }) {
            actions.push(Action::Release(0));
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
        // A message takes less time than that.
        let is_quiet = matches!(state.lines[MAIN], Line::Idle(_));
        if state.left.times > 0 && is_quiet {
            actions.push(Action::TimePasses);
        }
        if state.left.sweeps > 0 {
            self.ask_again(state, Hope::Vain, actions);
        }
    }

    /// Whether a client releases only if it likes.
    fn keeps(&self, client: usize) -> bool {
        self.has_keeper && client == 0
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
        let message = table.message(session, Look::IfNeeded, state.now());
        // A look comes before the question.
        message.is_some_and(|message| message.looks || server.execute(session, &message).grants())
    }

    fn has_steps(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        self.steps(state, &mut steps);
        let mut steps = steps.into_iter();
        steps.any(|step| self.next_state(state, step).is_some())
    }

    /// Whether something happens before a holder releases or something is asked for again.
    fn has_messages(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        self.steps(state, &mut steps);
        let is_message = |step: &Action| {
            let asks = matches!(step, Action::Sweep(_) | Action::Poll(..));
            !asks && !matches!(step, Action::Release(_) | Action::OutsiderReleases)
        };
        let mut steps = steps.into_iter().filter(is_message);
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

    /// The session, the key and the mode of each guard, and whether it was notified of a loss.
    fn guards<'a>(
        &'a self,
        process: &'a Process,
    ) -> impl Iterator<Item = (SessionId, Key, Mode, bool)> + 'a {
        let clients = self.clients.iter().zip(&process.plans);
        clients.flat_map(|(client, plan)| {
            let Client::Holding {
                session,
                slot,
                is_told,
            } = *client
            else {
                return Vec::new();
            };
            let keys = slot.map_or_else(|| plan.lock.keys().to_vec(), |slot| vec![slot]);
            let guard = |key| (session, key, plan.lock.mode(), is_told);
            keys.into_iter().map(guard).collect()
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
        clients.all(Client::is_at_rest)
    }
}

impl Client {
    fn is_at_rest(&self) -> bool {
        matches!(self, Self::Absent | Self::Refused | Self::Done)
    }
}

impl Plan {
    fn excludes(&self, other: &Self) -> bool {
        let (keys, mode) = (self.lock.keys(), self.lock.mode());
        // A lock with several permits waits for no other.
        self.lock.permits() == other.lock.permits()
            && keys.iter().any(|key| other.is_excluded_by((*key, mode)))
    }

    fn is_excluded_by(&self, (key, mode): (Key, Mode)) -> bool {
        let is_shared = mode == Mode::Shared && self.lock.mode() == Mode::Shared;
        let is_alone = self.lock.permits() == 1;
        !is_shared && is_alone && self.lock.keys().contains(&key)
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
            has_keeper: false,
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
