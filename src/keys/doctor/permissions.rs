//! What the credentials may do: what is read by reading it, the rest by what is known.
//!
//! A write is not tried. Whether it is allowed is known where a call was denied or IAM was asked
//! (`--simulate`), else it is `unknown`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Setup;
use crate::{
    ivs::{
        IvsError, Question, RegionalIvs,
        arn::{ChannelArn, PlaybackKeyArn, Region},
    },
    keys::{
        finding::{Finding, FindingCode, Severity},
        keyring::Keyring,
    },
};

/// An action of IAM that a process of this configuration needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wanted {
    /// `ivs:GetChannel`
    action: &'static str,
    /// What it is needed for.
    purpose: &'static str,
    resource: Resource,
    /// Whether nothing works without it.
    is_essential: bool,
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Resource {
    Channels,
    KeyPairs,
    /// The keyring's secret.
    Secret,
}

/// What IAM said, by action: allowed or not.
pub(super) type Simulated = BTreeMap<String, bool>;

/// Whether an action is allowed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// `ivs:GetChannel`
    pub action: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// What is known.
    pub answer: Answer,
    /// Where it was denied: by whom, in AWS's words.
    pub detail: Option<String>,
    #[serde(skip)]
    is_essential: bool,
}

/// What is known of an action.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It works.
    Allowed,
    /// It does not.
    Denied,
    /// Nobody tried.
    Unknown,
}

/// What a process of this configuration needs.
pub(super) fn wanted(setup: &Setup) -> Vec<Wanted> {
    use Resource::{Channels, KeyPairs, Secret};
    let wanted = |action, purpose, resource, is_essential| Wanted {
        action,
        purpose,
        resource,
        is_essential,
    };
    let mut all = vec![
        wanted("ivs:GetChannel", "mint", Channels, true),
        wanted("ivs:BatchGetChannel", "mint", Channels, true),
        wanted("ivs:ListChannels", "mint", Channels, false),
        wanted("ivs:ListPlaybackKeyPairs", "mint", KeyPairs, true),
        wanted("ivs:GetPlaybackKeyPair", "mint", KeyPairs, true),
    ];
    if setup.manage {
        all.push(wanted("ivs:ImportPlaybackKeyPair", "rotate", KeyPairs, true));
        all.push(wanted("ivs:DeletePlaybackKeyPair", "rotate", KeyPairs, true));
        all.push(wanted("ivs:TagResource", "rotate", KeyPairs, true));
    }
    all.push(wanted("ivs:StartViewerSessionRevocation", "revoke", Channels, false));
    all.push(wanted("ivs:BatchStartViewerSessionRevocation", "revoke", Channels, false));
    if setup.secret_arn.is_some() {
        all.push(wanted("secretsmanager:GetSecretValue", "mint", Secret, true));
        all.push(wanted("secretsmanager:DescribeSecret", "mint", Secret, true));
        if setup.manage {
            all.push(wanted("secretsmanager:PutSecretValue", "rotate", Secret, true));
            all.push(wanted("secretsmanager:UpdateSecretVersionStage", "rotate", Secret, true));
        }
    }
    all
}

/// What is wanted, as IAM is asked about it: one question a kind of resource.
pub(super) fn questions(
    wanted: &[Wanted],
    setup: &Setup,
    region: &Region,
    account: Option<&str>,
) -> Vec<Question> {
    let all_of = |kind: &str| match account {
        Some(account) => format!("arn:aws:ivs:{region}:{account}:{kind}/*"),
        None => "*".to_owned(),
    };
    let arn = |resource| match resource {
        Resource::Channels => all_of("channel"),
        Resource::KeyPairs => all_of("playback-key"),
        Resource::Secret => setup.secret_arn.clone().unwrap_or_else(|| "*".to_owned()),
    };
    let mut by_resource: BTreeMap<Resource, Vec<&'static str>> = BTreeMap::new();
    for wanted in wanted {
        by_resource.entry(wanted.resource).or_default().push(wanted.action);
    }
    let question = |(resource, actions)| Question { actions, resource: arn(resource) };
    by_resource.into_iter().map(question).collect()
}

/// What calling the reads came to, by action.
pub(super) type Reads = BTreeMap<&'static str, Result<(), IvsError>>;

/// Calls every read once, but for the listing of key pairs, which was `listed` already and may have
/// shown this `pair`. A call about a thing that does not exist answers the question, too.
pub(super) async fn read(
    ivs: &RegionalIvs,
    account: Option<&str>,
    listed: Result<(), IvsError>,
    pair: Option<PlaybackKeyArn>,
) -> Reads {
    let mut reads = Reads::new();
    let channels = ivs.list_channels(None).await;
    let known = |account: &str| account.to_owned();
    let account = account.map(known).or_else(|| {
        let channel = channels.as_ref().ok().and_then(|(channels, _)| channels.first());
        let account = pair.as_ref().map(PlaybackKeyArn::account);
        account.or_else(|| channel.map(|it| it.arn.account())).map(ToString::to_string)
    });
    let made_up = |kind: &str| {
        let account = account.as_ref()?;
        Some(format!("arn:aws:ivs:{}:{account}:{kind}/nothinghere", ivs.region()))
    };
    let pair: Option<PlaybackKeyArn> = pair.or_else(|| made_up("playback-key")?.parse().ok());
    let channel = channels.as_ref().ok().and_then(|(channels, _)| channels.first());
    let channel = channel.map(|channel| channel.arn.clone());
    let channel: Option<ChannelArn> = channel.or_else(|| made_up("channel")?.parse().ok());
    if let Some(pair) = pair {
        let got = ivs.get_playback_key_pair(&pair).await.map(|_| ());
        reads.insert("ivs:GetPlaybackKeyPair", got);
    }
    if let Some(channel) = channel {
        reads.insert("ivs:GetChannel", ivs.get_channel(&channel).await.map(|_| ()));
        let batch = ivs.batch_get_channel(std::slice::from_ref(&channel)).await.map(|_| ());
        reads.insert("ivs:BatchGetChannel", batch);
    }
    reads.insert("ivs:ListPlaybackKeyPairs", listed);
    reads.insert("ivs:ListChannels", channels.map(|_| ()));
    reads
}

/// AWS's words of the denials that rotations wait for the end of, the last first.
pub(super) fn denials(keyring: &Keyring) -> Vec<&str> {
    let latest = keyring.rotations.iter().rev();
    latest.filter_map(|it| it.error.as_ref()?.words_of_denial()).collect()
}

/// What is known of each action. What was called counts more than what IAM expects.
pub(super) fn judge(
    wanted: &[Wanted],
    reads: &Reads,
    simulated: Option<&Simulated>,
    denials: &[&str],
) -> Vec<Permission> {
    let judge = |wanted: &Wanted| {
        let simulated = simulated.and_then(|simulated| simulated.get(wanted.action));
        let denial = denials.iter().find(|text| names(text, wanted.action));
        let (answer, detail) = match (reads.get(wanted.action), simulated, denial) {
            (Some(Err(IvsError::Denied { message, .. })), _, _) => {
                (Answer::Denied, Some(message.clone()))
            }
            (Some(Ok(()) | Err(IvsError::NotFound)), _, _) | (_, Some(true), _) => {
                (Answer::Allowed, None)
            }
            (_, Some(false), _) => {
                (Answer::Denied, Some("IAM says so (SimulatePrincipalPolicy)".to_owned()))
            }
            (_, None, Some(denial)) => (Answer::Denied, Some((*denial).to_owned())),
            (_, None, None) => (Answer::Unknown, None),
        };
        let Wanted { action, purpose, is_essential, .. } = *wanted;
        Permission { action, purpose, answer, detail, is_essential }
    };
    wanted.iter().map(judge).collect()
}

/// Whether AWS's sentence is about this action, and not one that only begins like it.
fn names(sentence: &str, action: &str) -> bool {
    sentence.match_indices(action).any(|(position, _)| {
        let rest = sentence.get(position + action.len()..).unwrap_or_default();
        !rest.starts_with(|c: char| c.is_ascii_alphanumeric())
    })
}

pub(super) fn findings(permissions: &[Permission]) -> Vec<Finding> {
    let denied = permissions.iter().filter(|it| it.answer == Answer::Denied);
    denied
        .map(|it| {
            let severity = if it.is_essential { Severity::Error } else { Severity::Warning };
            let why = it.detail.as_deref().unwrap_or_default();
            let (action, purpose) = (it.action, it.purpose);
            let situation = format!("{action}, needed to {purpose}, is denied: {why}");
            Finding::new(FindingCode::PermissionDenied, situation).with_severity(severity)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        keys::{
            keyring::{Limits, Rotation, RotationFailure, RotationMode, RotationOutcome},
            store::samples,
        },
        secret::system_rng,
    };

    fn setup(manage: bool, secret: Option<&str>) -> Setup {
        Setup {
            manage,
            limits: Limits::default(),
            reconcile_every: Duration::from_mins(1),
            store: "dir keys/us-west-2".to_owned(),
            secret_arn: secret.map(str::to_owned),
        }
    }

    fn denied(message: &str) -> IvsError {
        IvsError::Denied { code: "AccessDeniedException".to_owned(), message: message.to_owned() }
    }

    fn answer(permissions: &[Permission], action: &str) -> Answer {
        permissions.iter().find(|it| it.action == action).unwrap().answer
    }

    #[test]
    fn a_process_that_does_not_manage_keys_needs_no_write() {
        let actions = |manage, secret| -> Vec<_> {
            wanted(&setup(manage, secret)).into_iter().map(|it| it.action).collect()
        };
        let writes = ["Import", "Delete", "Tag", "Put", "Update"];
        let is_write = |action: &&str| writes.iter().any(|write| action.contains(write));
        assert_eq!(actions(false, Some("arn")).iter().filter(|it| is_write(it)).count(), 0);
        assert_eq!(actions(true, Some("arn")).iter().filter(|it| is_write(it)).count(), 5);
        assert!(actions(true, None).iter().all(|action| action.starts_with("ivs:")));
    }

    #[test]
    fn iam_is_asked_once_for_each_kind_of_resource() {
        let setup = setup(true, Some("arn:aws:secretsmanager:us-west-2:123456789012:secret:x"));
        let region = "us-west-2".parse().unwrap();
        let wanted = wanted(&setup);
        let asked = questions(&wanted, &setup, &region, Some("123456789012"));
        let resources: Vec<_> = asked.iter().map(|it| it.resource.as_str()).collect();
        assert_eq!(
            resources,
            [
                "arn:aws:ivs:us-west-2:123456789012:channel/*",
                "arn:aws:ivs:us-west-2:123456789012:playback-key/*",
                "arn:aws:secretsmanager:us-west-2:123456789012:secret:x",
            ]
        );
        assert_eq!(asked.iter().map(|it| it.actions.len()).sum::<usize>(), wanted.len());
        assert_eq!(questions(&wanted, &setup, &region, None)[0].resource, "*");
    }

    #[test]
    fn what_was_called_is_known_and_what_was_not_is_unknown() {
        let wanted = wanted(&setup(true, None));
        let reads = Reads::from([
            ("ivs:GetChannel", Err(IvsError::NotFound)),
            ("ivs:ListChannels", Err(denied("no"))),
            ("ivs:ListPlaybackKeyPairs", Ok(())),
            ("ivs:GetPlaybackKeyPair", Err(IvsError::TimedOut)),
        ]);
        let known = judge(&wanted, &reads, None, &[]);
        assert_eq!(answer(&known, "ivs:GetChannel"), Answer::Allowed);
        assert_eq!(answer(&known, "ivs:ListPlaybackKeyPairs"), Answer::Allowed);
        assert_eq!(answer(&known, "ivs:ListChannels"), Answer::Denied);
        assert_eq!(answer(&known, "ivs:GetPlaybackKeyPair"), Answer::Unknown);
        assert_eq!(answer(&known, "ivs:ImportPlaybackKeyPair"), Answer::Unknown);
        let findings = findings(&known);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Warning);
    }

    #[test]
    fn a_write_is_known_by_its_last_denial_or_by_what_iam_says() {
        let wanted = wanted(&setup(true, None));
        let denial = "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: \
                      ivs:DeletePlaybackKeyPair on resource: *";
        let known = judge(&wanted, &Reads::new(), None, &[denial]);
        assert_eq!(answer(&known, "ivs:DeletePlaybackKeyPair"), Answer::Denied);
        assert_eq!(answer(&known, "ivs:ImportPlaybackKeyPair"), Answer::Unknown);

        let simulated = Simulated::from([
            ("ivs:DeletePlaybackKeyPair".to_owned(), true),
            ("ivs:ImportPlaybackKeyPair".to_owned(), false),
            ("ivs:ListPlaybackKeyPairs".to_owned(), false),
            ("ivs:GetChannel".to_owned(), true),
        ]);
        let reads = Reads::from([
            ("ivs:ListPlaybackKeyPairs", Ok(())),
            ("ivs:GetChannel", Err(denied("no"))),
        ]);
        let known = judge(&wanted, &reads, Some(&simulated), &[denial]);
        assert_eq!(answer(&known, "ivs:DeletePlaybackKeyPair"), Answer::Allowed);
        assert_eq!(answer(&known, "ivs:ImportPlaybackKeyPair"), Answer::Denied);
        assert_eq!(answer(&known, "ivs:ListPlaybackKeyPairs"), Answer::Allowed);
        assert_eq!(answer(&known, "ivs:GetChannel"), Answer::Denied);
        let findings = findings(&known);
        assert!(findings.iter().all(|it| it.severity == Severity::Error), "{findings:?}");
        assert!(findings[1].detail.contains("ivs:ImportPlaybackKeyPair"), "{findings:?}");
    }

    #[test]
    fn a_denial_counts_until_its_rotation_ends() {
        let mut keyring = samples::empty();
        let denied = |words| {
            let to = samples::add_key(&mut samples::empty(), 0);
            let mode = RotationMode::Graceful;
            let rotation = Rotation::new(mode, "test", to, samples::now(), &mut system_rng());
            Rotation { error: Some(RotationFailure::denied(words)), ..rotation }
        };
        keyring.record_rotation(denied("an old denial"));
        let words = "not authorized to perform: ivs:ImportPlaybackKeyPair.";
        keyring.record_rotation(denied(words));
        assert_eq!(denials(&keyring), [words.trim_end_matches('.'), "an old denial"]);
        keyring.rotations[0].finish(RotationOutcome::Cancelled, samples::now());
        assert_eq!(denials(&keyring), [words.trim_end_matches('.')]);
    }

    #[test]
    fn an_action_is_not_taken_for_one_that_begins_like_it() {
        assert!(names("to perform: ivs:GetChannel on", "ivs:GetChannel"));
        assert!(names("to perform: ivs:GetChannel", "ivs:GetChannel"));
        assert!(!names("to perform: ivs:GetChannelPolicy on", "ivs:GetChannel"));
    }
}
