use std::{
    cell::Cell,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use proptest::prelude::*;

use super::*;

pub(super) const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

fn channel(id: &str) -> ChannelArn {
    format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}").parse().unwrap()
}

fn viewer(id: &str) -> ViewerId {
    ViewerId::parse(id.to_owned()).unwrap()
}

pub(super) fn denial(id: &str, seconds: u64) -> Denial {
    Denial::new(channel("a"), viewer(id), NOW, Duration::from_secs(seconds))
}

pub(super) fn until(denials: &Denials, id: &str) -> Option<u64> {
    let until = denials.denied_until(&channel("a"), &viewer(id), NOW)?;
    Some(until.saturating_since(NOW).as_secs())
}

pub(super) fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/denied.jsonl");
    (folder, path)
}

fn deny(
    denials: &Denials,
    new: impl IntoIterator<Item = Denial>,
    now: Timestamp,
) -> Result<(), DenialsError> {
    let lock = denials.lock_file()?;
    denials.add(&lock, new, now)
}

/// As a process that starts finds it.
pub(super) fn opened(path: &Path) -> Denials {
    let denials = Denials::new(path.to_owned());
    denials.reload(NOW).unwrap();
    denials
}

#[test]
fn denial_survives_a_restart_and_ends_in_time() {
    let (_folder, path) = file();
    let denials = opened(&path);
    deny(&denials, [denial("alice", 60), denial("bob\"\n", 5)], NOW).unwrap();
    let again = opened(&path);
    for denials in [denials, again] {
        assert_eq!((until(&denials, "alice"), until(&denials, "bob\"\n")), (Some(60), Some(5)));
        assert_eq!(until(&denials, "carol"), None);
        assert_eq!(denials.denied_until(&channel("b"), &viewer("alice"), NOW), None);
        let later = NOW + Duration::from_mins(1);
        assert_eq!(denials.denied_until(&channel("a"), &viewer("alice"), later), None);
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn longer_of_two_denials_counts() {
    let (_folder, path) = file();
    let denials = opened(&path);
    deny(&denials, [denial("a", 60), denial("a", 90), denial("a", 30)], NOW).unwrap();
    deny(&denials, [denial("a", 10)], NOW).unwrap();
    assert_eq!(until(&denials, "a"), Some(90));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 1, "{text}");
    deny(&denials, [denial("a", 91)], NOW).unwrap();
    assert_eq!((until(&denials, "a"), until(&opened(&path), "a")), (Some(91), Some(91)));
}

#[test]
fn denial_ends_at_a_whole_second() {
    let now = Timestamp::from_unix_millis(NOW.unix_millis() + 1);
    let half = Denial::new(channel("a"), viewer("a"), now, Duration::from_secs(1));
    assert_eq!(half.until, NOW + Duration::from_secs(2));
}

#[test]
fn denial_by_another_process_is_read() {
    let (_folder, path) = file();
    let (service, command) = (opened(&path), opened(&path));
    deny(&service, [denial("a", 60)], NOW).unwrap();
    deny(&command, [denial("b", 60)], NOW).unwrap();
    assert_eq!((until(&command, "a"), until(&service, "b")), (Some(60), None));
    service.reload(NOW).unwrap();
    assert_eq!((until(&service, "a"), until(&service, "b")), (Some(60), Some(60)));
}

thread_local! {
    /// How often a file was synced on this thread, and how many of those fail from now on.
    static SYNCS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn sync(file: &File) -> io::Result<()> {
    let (done, failing) = SYNCS.get();
    SYNCS.set((done + 1, failing.saturating_sub(1)));
    if failing > 0 { Err(io::Error::other("the disk is gone")) } else { file.sync_data() }
}

fn opened_with_sync(path: &Path) -> Denials {
    let denials = Denials::with_sync(path.to_owned(), sync);
    denials.reload(NOW).unwrap();
    denials
}

#[test]
fn file_is_rewritten_after_a_failed_sync_before_a_denial_is_promised() {
    let (_folder, path) = file();
    let denials = opened_with_sync(&path);
    deny(&denials, [denial("a", 60)], NOW).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    SYNCS.set((0, 1));
    let error = deny(&denials, [denial("b", 60)], NOW).unwrap_err();
    assert!(matches!(error, DenialsError::Unfinished { .. }), "{error}");
    // It can be read all the same, so that nothing seems to be left to do.
    assert_eq!(until(&opened(&path), "b"), Some(60));
    deny(&denials, [denial("b", 60)], NOW).unwrap();
    assert_ne!(fs::metadata(&path).unwrap().ino(), inode);
    let again = opened(&path);
    assert_eq!((until(&again, "a"), until(&again, "b")), (Some(60), Some(60)));
}

#[test]
fn denials_of_other_processes_are_synced_once_before_they_are_promised() {
    let (_folder, path) = file();
    deny(&opened(&path), [denial("a", 60)], NOW).unwrap();
    let denials = opened_with_sync(&path);
    let syncs = || SYNCS.replace((0, 0)).0;
    deny(&denials, [denial("a", 30)], NOW).unwrap();
    assert_eq!(syncs(), 1, "whoever wrote it may have been killed before it was durable");
    deny(&denials, [denial("a", 30)], NOW).unwrap();
    assert_eq!(syncs(), 0);
    deny(&opened(&path), [denial("b", 60)], NOW).unwrap();
    deny(&denials, [denial("b", 30)], NOW).unwrap();
    assert_eq!((syncs(), until(&denials, "b")), (1, Some(60)));

    // A file that is gone holds nothing that could be promised.
    fs::remove_file(&path).unwrap();
    deny(&denials, [denial("b", 30)], NOW).unwrap();
    assert_eq!(until(&opened(&path), "b"), Some(60));
}

#[test]
fn concurrent_writers_lose_nothing() {
    let (_folder, path) = file();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let denials = opened(path);
                for number in 0..20 {
                    deny(&denials, [denial(&format!("{writer}-{number}"), 60)], NOW).unwrap();
                }
            });
        }
    });
    assert_eq!(opened(&path).0.denied.read().len(), 80);
}

#[test]
fn incomplete_line_is_ignored() {
    let (_folder, path) = file();
    let denials = opened(&path);
    deny(&denials, [denial("a", 60), denial("b", 60)], NOW).unwrap();
    let whole = fs::read(&path).unwrap();
    let second = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for length in second..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let denials = opened(&path);
        let known = denials.0.denied.read().len();
        // Without its line break the line is one nevertheless.
        assert_eq!(known, if length == whole.len() - 1 { 2 } else { 1 }, "{length}");
        deny(&denials, [denial("c", 60)], NOW).unwrap();
        assert_eq!(until(&denials, "c"), Some(60));
        assert_eq!(opened(&path).0.denied.read().len(), known + 1, "{length}");
    }
}

#[test]
fn invalid_line_is_reported_and_the_denials_stay() {
    let (_folder, path) = file();
    let denials = opened(&path);
    deny(&denials, [denial("a", 60)], NOW).unwrap();
    for bad in ["hunter2", "{}", r#"{"channel":"x","viewerId":"hunter2","until":"now"}"#] {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{bad}\n{text}")).unwrap();
        let error = denials.reload(NOW).unwrap_err().to_string();
        assert!(error.starts_with("Line 1 of ") && !error.contains("hunter2"), "{error}");
        deny(&denials, [denial("b", 60)], NOW).unwrap_err();
        assert_eq!((until(&denials, "a"), until(&denials, "b")), (Some(60), None));
        fs::write(&path, text).unwrap();
        denials.reload(NOW).unwrap();
    }
}

#[test]
fn removed_line_lifts_the_denial() {
    let (_folder, path) = file();
    let denials = opened(&path);
    deny(&denials, [denial("a", 60), denial("b", 60)], NOW).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let rest: Vec<_> = text.lines().filter(|line| !line.contains("\"a\"")).collect();
    fs::write(&path, rest.join("\n")).unwrap();
    denials.reload(NOW).unwrap();
    assert_eq!((until(&denials, "a"), until(&denials, "b")), (None, Some(60)));

    // The file itself gone is an accident.
    fs::remove_file(&path).unwrap();
    denials.reload(NOW).unwrap();
    assert_eq!(until(&denials, "b"), Some(60));
    deny(&denials, [denial("c", 60)], NOW).unwrap();
    let again = opened(&path);
    assert_eq!((until(&again, "b"), until(&again, "c")), (Some(60), Some(60)));
    // Left empty it is meant.
    fs::write(&path, "").unwrap();
    denials.reload(NOW).unwrap();
    assert_eq!(until(&denials, "b"), None);
}

#[test]
fn ended_denials_do_not_accumulate() {
    let (_folder, path) = file();
    let denials = opened(&path);
    let mut now = NOW;
    for round in 0..20 {
        let new: Vec<_> = (0..500)
            .map(|number| {
                let viewer = viewer(&format!("{round}-{number}"));
                Denial::new(channel("a"), viewer, now, Duration::from_secs(10))
            })
            .collect();
        deny(&denials, new, now).unwrap();
        now = now + Duration::from_secs(11);
    }
    let lines = fs::read_to_string(&path).unwrap().lines().count();
    let known = denials.0.denied.read().len();
    assert!(lines < 5000 && known < 2000, "{lines} lines, {known} denials");
}

#[test]
fn unwritable_folder_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file/denied.jsonl");
    fs::write(folder.path().join("file"), "").unwrap();
    let error = deny(&Denials::new(path), [denial("a", 60)], NOW).unwrap_err();
    assert!(matches!(error, DenialsError::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains("viewers.deny_list"));
}

#[test]
fn debug_output_names_no_viewer() {
    let (_folder, path) = file();
    let denials = opened(&path);
    deny(&denials, [denial("hunter2", 60)], NOW).unwrap();
    assert!(!format!("{denials:?} {:?}", denial("hunter2", 1)).contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Two processes and restarts in any order: nobody who was denied is let in early.
    #[test]
    fn promised_denials_are_kept(
        steps in prop::collection::vec((0_usize..3, 0_u8..6, 1_u64..100), 1..40),
    ) {
        let (_folder, path) = file();
        let mut processes = [opened(&path), opened(&path)];
        let mut promised = HashMap::new();
        for (step, id, seconds) in steps {
            match processes.get(step) {
                Some(process) => {
                    deny(process, [denial(&id.to_string(), seconds)], NOW).unwrap();
                    let longest = promised.entry(id).or_insert(seconds);
                    *longest = seconds.max(*longest);
                    prop_assert_eq!(until(process, &id.to_string()), Some(*longest));
                }
                None => processes[0] = opened(&path),
            }
        }
        for process in &processes {
            process.reload(NOW).unwrap();
            for (id, seconds) in &promised {
                prop_assert_eq!(until(process, &id.to_string()), Some(*seconds));
            }
        }
    }
}
