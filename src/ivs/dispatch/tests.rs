//! The bookkeeping of a dispatcher call by call, and its tasks under paused time. The simulations of `channels` and
//! `revocation` run a dispatcher against a model of IVS.

use futures_util::future::join_all;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);

type TestQueues = Queues<ChannelArn, &'static str>;

/// The policy of channel lookups.
const LOOKUPS: Policy = Policy {
    singles_share_the_load: false,
    coalesce_for: Duration::ZERO,
    deadline: Some(DEADLINE),
    isolate_for: Duration::from_secs(10),
    tries: 1,
    tries_in_outage: 1,
};

/// The policy of revocations.
const REVOCATIONS: Policy = Policy {
    singles_share_the_load: true,
    deadline: None,
    tries: 6,
    tries_in_outage: 2,
    ..LOOKUPS
};

fn operation<I>(size: usize) -> Operation<I> {
    Operation::new(size, usize::MAX, Budget::new(4.0))
}

fn empty<I: Item>(policy: Policy) -> Queues<I, &'static str> {
    Queues::new(operation(50), operation(1), policy)
}

fn arn(id: &str) -> ChannelArn {
    format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}").parse().unwrap()
}

fn caller(name: &str) -> Caller {
    name.into()
}

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn start(queues: &mut TestQueues, name: &str, id: &str) -> Pending<&'static str> {
    queues.start(&arn(id), Some(&caller(name)), at(0))
}

fn start_in_background(queues: &mut TestQueues, id: &str) {
    drop(queues.start(&arn(id), None, at(0)));
}

/// The next call, which must be possible now.
fn call(queues: &mut TestQueues, now: Duration) -> (Vec<String>, (Route, Pass)) {
    let Next::Call(route, items, pass) = queues.next(now) else { panic!("no call") };
    (items.iter().map(|arn| arn.id().to_owned()).collect(), (route, pass))
}

/// Ends a call with the same verdict for each of its items.
fn land(
    queues: &mut TestQueues,
    call: (Route, Pass),
    now: Duration,
    ids: &[String],
    verdict: &Verdict<&'static str>,
) {
    let items: Vec<_> = ids.iter().map(|id| arn(id)).collect();
    let verdicts = vec![verdict.clone(); items.len()];
    queues.land(call, now, 0.5, items, Some(verdicts));
}

#[tokio::test]
async fn all_who_join_get_one_outcome() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let first = start(&mut queues, "a", "x");
    let second = queues.join(&arn("x"), Some(&caller("b"))).unwrap();
    drop(first);
    let (asked, sent) = call(&mut queues, at(0));
    assert_eq!(asked, ["x"], "once, although it waits in two queues");
    let third = queues.join(&arn("x"), Some(&caller("c"))).unwrap();
    land(&mut queues, sent, at(9), &asked, &Verdict::Done("done"));
    for mut pending in [second, third] {
        assert_eq!(pending.outcome().await, Ok("done"));
    }
    assert!(queues.join(&arn("x"), None).is_none());
    assert!(matches!(queues.next(at(9)), Next::Idle));
}

#[test]
fn no_caller_waits_in_the_queue_of_another() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let _many: Vec<_> = (0..200).map(|id| start(&mut queues, "many", &id.to_string())).collect();
    // Another caller wants the last item of the first one.
    let _joined = queues.join(&arn("199"), Some(&caller("b"))).unwrap();
    let (asked, _) = call(&mut queues, at(0));
    assert_eq!((asked.len(), asked[1].as_str()), (50, "199"));
}

#[test]
fn background_item_that_a_caller_joins_gets_into_its_queue() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let _busy: Vec<_> = (0..100).map(|id| start(&mut queues, "busy", &id.to_string())).collect();
    for refresh in 0..6 {
        start_in_background(&mut queues, &format!("refresh-{refresh}"));
    }
    let _joined = queues.join(&arn("refresh-5"), Some(&caller("b"))).unwrap();
    let (asked, _) = call(&mut queues, at(0));
    assert_eq!(asked[1], "refresh-5");
    assert_eq!(asked.iter().filter(|id| id.starts_with("refresh")).count(), 6);
}

#[test]
fn throttled_items_come_first_if_someone_waits_for_them() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let _waiting = start(&mut queues, "a", "stays");
    drop(start(&mut queues, "a", "leaves"));
    let leaving = start(&mut queues, "a", "leaves-later");
    start_in_background(&mut queues, "refresh");
    let (asked, sent) = call(&mut queues, at(0));
    assert_eq!(asked, ["stays", "leaves-later", "refresh"]);
    drop(leaving);
    let _next = start(&mut queues, "a", "next");
    land(&mut queues, sent, at(10), &asked, &Verdict::Throttled);
    assert!(matches!(queues.next(at(509)), Next::Wait(_)));
    let (asked, _) = call(&mut queues, at(510));
    assert_eq!(asked, ["stays", "next"]);
}

#[test]
fn item_for_a_single_call_is_refused_where_that_takes_too_long() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let waits: Vec<_> = (0..50).map(|id| start(&mut queues, "a", &id.to_string())).collect();
    start_in_background(&mut queues, "refresh");
    let (asked, sent) = call(&mut queues, at(0));
    land(&mut queues, sent, at(0), &asked, &Verdict::Alone);
    let mut refused = 0;
    for wait in waits {
        if let Some(outcome) = wait.known() {
            let Err(NotDispatched::QueueFull { retry_after }) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(retry_after > DEADLINE && retry_after < DEADLINE * 2);
            refused += 1;
        }
    }
    // The refresh took a place in the call; one item is sent every 262.5 ms from now on.
    assert_eq!(refused, 49 - 20);
    let (asked, (route, _)) = call(&mut queues, at(0));
    assert_eq!((asked, route), (vec!["refresh".to_owned()], Route::Single), "no one else waits");
}

#[tokio::test]
async fn call_that_ends_without_verdicts_is_reported() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let mut pending = start(&mut queues, "a", "x");
    assert!(queues.needs_service());
    assert!(!queues.needs_service());
    let (_, sent) = call(&mut queues, at(0));
    queues.land(sent, at(5), 0.5, vec![arn("x")], None);
    assert!(matches!(queues.next(at(5)), Next::Idle));
    assert!(matches!(pending.outcome().await, Err(NotDispatched::Unavailable { .. })));
    let _again = start(&mut queues, "a", "x");
    assert!(queues.needs_service());
}

#[test]
fn caller_whose_time_is_over_gets_the_reason() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let _waiting = start(&mut queues, "a", "x");
    let overdue = |queues: &TestQueues, now| queues.overdue(&arn("x"), &caller("a"), now);
    let throttled = NotDispatched::QueueFull { retry_after: Duration::ZERO };
    assert_eq!(overdue(&queues, at(5000)), throttled);
    let (asked, sent) = call(&mut queues, at(0));
    let unavailable = NotDispatched::Unavailable { retry_after: RETRY_AFTER };
    assert_eq!(overdue(&queues, at(5000)), unavailable);
    land(&mut queues, sent, at(1000), &asked, &Verdict::Throttled);
    call(&mut queues, at(1500));
    assert_eq!(overdue(&queues, at(5000)), throttled, "although a call is in flight");
}

/// Makes batch calls, of which IVS refuses those that `is_refused`, until none is left. Single calls get no answer.
/// Returns the number of batches, when the last one was answered, and the items of single calls.
fn make_batches(
    queues: &mut TestQueues,
    is_refused: impl Fn(&[ChannelArn]) -> bool,
) -> (usize, Duration, Vec<ChannelArn>) {
    let (mut calls, mut now, mut end, mut singles) = (0, at(0), at(0), Vec::new());
    loop {
        match queues.next(now) {
            Next::Call(Route::Batch, items, pass) => {
                calls += 1;
                now += at(50);
                end = now;
                let verdict =
                    if is_refused(&items) { Verdict::Halve } else { Verdict::Done("done") };
                let verdicts = vec![verdict; items.len()];
                queues.land((Route::Batch, pass), now, 0.5, items, Some(verdicts));
            }
            Next::Call(Route::Single, items, _) => singles.extend(items),
            Next::Wait(wait) => now += wait,
            Next::Idle => return (calls, end, singles),
        }
    }
}

#[test]
fn refused_item_delays_the_others_of_its_batch_by_a_few_calls() {
    for position in [0, 17, 49] {
        let mut queues: TestQueues = empty(LOOKUPS);
        let waits: Vec<_> = (0..50).map(|id| start(&mut queues, "a", &id.to_string())).collect();
        let refused = arn(&position.to_string());
        let (calls, end, singles) = make_batches(&mut queues, |items| items.contains(&refused));
        assert!(calls <= 13 && end < DEADLINE, "{calls} calls, until {end:?}");
        let is_alone = |wait: &Pending<_>| wait.known().is_none();
        let alone: Vec<_> = waits.iter().map(is_alone).collect();
        let count = alone.iter().filter(|is_alone| **is_alone).count();
        assert!(alone[position] && count <= 3, "only its neighbours in the last halves are left");
        assert!(singles.contains(&refused));

        // It stays out of the next batches for a while.
        let mut later = TestQueues { isolated: queues.isolated, ..empty(LOOKUPS) };
        let _next = later.start(&refused, Some(&caller("a")), end);
        let _other = later.start(&arn("other"), Some(&caller("a")), end);
        assert_eq!(call(&mut later, end).0, ["other"]);
    }
}

#[test]
fn batches_that_are_always_refused_are_not_halved_for_ever() {
    let mut queues: TestQueues = empty(LOOKUPS);
    let _waits: Vec<_> = (0..50).map(|id| start(&mut queues, "a", &id.to_string())).collect();
    let (calls, ..) = make_batches(&mut queues, |_| true);
    assert!(calls <= 16, "{calls}");
    let _next = queues.start(&arn("next"), Some(&caller("a")), at(60_000));
    assert_eq!(call(&mut queues, at(60_000)).0, ["next"]);
}

/// An item of one of several channels.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Session(ChannelArn, u32);

impl Item for Session {
    fn channel(&self) -> &ChannelArn {
        &self.0
    }
}

#[test]
fn channel_that_spoiled_a_batch_stays_out_of_batches_for_a_while() {
    let (refused, other) = (arn("refused"), arn("other"));
    let mut queues: Queues<Session, &'static str> = empty(REVOCATIONS);
    let mut batches = Vec::new();
    let mut serve = |queues: &mut Queues<Session, &'static str>, mut now: Duration| loop {
        let (route, items, pass) = match queues.next(now) {
            Next::Call(route, items, pass) => (route, items, pass),
            Next::Wait(wait) => {
                now += wait;
                continue;
            }
            Next::Idle => return now,
        };
        let is_refused = items.iter().any(|item| item.0 == refused);
        let verdict = match route {
            _ if !is_refused => Verdict::Done("revoked"),
            Route::Batch => Verdict::Alone,
            Route::Single => Verdict::Refused("refused"),
        };
        if route == Route::Batch {
            batches.push(is_refused);
        }
        let verdicts = vec![verdict; items.len()];
        queues.land((route, pass), now, 0.5, items, Some(verdicts));
    };
    let mut waits = Vec::new();
    let mut push = |queues: &mut Queues<Session, &'static str>, channel: &ChannelArn, id, now| {
        waits.push(queues.start(&Session(channel.clone(), id), Some(&caller("a")), now));
    };
    push(&mut queues, &refused, 0, at(0));
    push(&mut queues, &other, 0, at(0));
    let now = serve(&mut queues, at(0));
    for id in 1..4 {
        push(&mut queues, &refused, id, now);
        push(&mut queues, &other, id, now);
    }
    serve(&mut queues, now);
    assert_eq!(batches.iter().filter(|is_refused| **is_refused).count(), 1, "{batches:?}");
}

/// Calls of a model that answers after 30 ms.
#[derive(Debug)]
struct Model {
    verdict: fn(&str) -> Verdict<&'static str>,
    calls: Mutex<Vec<Vec<String>>>,
}

impl Calls for Model {
    type Item = ChannelArn;
    type Outcome = &'static str;

    async fn call(&self, _: Route, items: &[ChannelArn]) -> Vec<Verdict<&'static str>> {
        self.calls.lock().push(items.iter().map(|arn| arn.id().to_owned()).collect());
        tokio::time::sleep(at(30)).await;
        items.iter().map(|arn| (self.verdict)(arn.id())).collect()
    }
}

fn dispatcher(policy: Policy, verdict: fn(&str) -> Verdict<&'static str>) -> Dispatcher<Model> {
    let model = Model { verdict, calls: Mutex::default() };
    Dispatcher::new(model, operation(50), operation(1), policy, TaskTracker::new())
}

async fn dispatch(dispatcher: &Dispatcher<Model>, id: &str) -> Dispatched<&'static str> {
    dispatcher.dispatch(&arn(id), &caller("a"), DEADLINE, || None).await
}

#[tokio::test(start_paused = true)]
async fn first_item_of_a_batch_waits_for_others() {
    let policy = Policy { coalesce_for: at(5), ..LOOKUPS };
    let dispatcher = dispatcher(policy, |_| Verdict::Done("done"));
    let waits = (0..10).map(|number: u64| {
        let dispatcher = &dispatcher;
        async move {
            tokio::time::sleep(at(2 * number)).await;
            dispatch(dispatcher, &number.to_string()).await
        }
    });
    assert_eq!(join_all(waits).await, [Ok("done"); 10]);
    let calls = dispatcher.calls().calls.lock();
    assert_eq!((calls.len(), calls[0].len()), (2, 3), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn equal_items_are_dispatched_once() {
    let dispatcher = dispatcher(LOOKUPS, |_| Verdict::Done("done"));
    let waits = (0..500).map(|_| dispatch(&dispatcher, "x"));
    assert_eq!(join_all(waits).await, [Ok("done"); 500]);
    assert_eq!(*dispatcher.calls().calls.lock(), [["x"]]);
}

#[tokio::test(start_paused = true)]
async fn known_outcome_makes_no_call() {
    let dispatcher = dispatcher(LOOKUPS, |_| Verdict::Done("done"));
    let known = dispatcher.dispatch(&arn("x"), &caller("a"), DEADLINE, || Some("known")).await;
    assert_eq!(known, Ok("known"));
    assert!(dispatcher.calls().calls.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn failing_item_is_sent_twice_in_an_outage_and_more_often_otherwise() {
    let outage = dispatcher(REVOCATIONS, |_| Verdict::Failed("failed"));
    assert_eq!(outage.submit([arn("x")], Some(&caller("a")))[0].outcome().await, Ok("failed"));
    assert_eq!(outage.calls().calls.lock().len(), 2);

    let others_succeed = dispatcher(REVOCATIONS, |id| match id {
        "bad" => Verdict::Failed("failed"),
        _ => Verdict::Done("done"),
    });
    let mut pending = others_succeed.submit([arn("bad"), arn("good")], Some(&caller("a")));
    assert_eq!(pending[0].outcome().await, Ok("failed"));
    assert_eq!(pending[1].outcome().await, Ok("done"));
    let calls = others_succeed.calls().calls.lock();
    assert_eq!(calls.iter().flatten().filter(|id| *id == "bad").count(), 6);
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_call_reaches_those_who_wait_and_spares_the_next_item() {
    let dispatcher = dispatcher(LOOKUPS, |id| {
        assert!(id != "panic", "expected by this test");
        Verdict::Done("done")
    });
    let failed = dispatch(&dispatcher, "panic").await;
    assert!(matches!(failed, Err(NotDispatched::Unavailable { .. })));
    assert_eq!(dispatch(&dispatcher, "x").await, Ok("done"));
}
