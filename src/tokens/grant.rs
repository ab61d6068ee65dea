//! What is requested of a token, and what it will say once every rule of IVS and of this service holds.
//!
//! Only [`Terms::parse`] makes terms, so code that has a [`Grant`] need not check it again: a session
//! version comes with a viewer id, strict enforcement with at most five origins, and the lifetime is one
//! that IVS accepts. All broken rules of a request are reported at once, each with a JSON Pointer to its
//! field. The rules are those of `POST /v1/tokens`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ivs::arn::ChannelArn;

use super::{
    claims::{
        CAPPED_DEFAULT_TTL, CAPPED_TTL, MAX_STRICT_ORIGINS, MAX_VIEWER_SESSION_VERSION,
        MaximumResolution, ViewerId,
    },
    origin::{AllowedOrigins, MAX_ORIGINS, OriginListError},
};

/// The faults of a list that are reported one by one. A request may be a mebibyte of two-byte entries,
/// and its answer should not be thirty.
const MAX_LISTED_FAULTS: usize = 100;

/// What to mint a token for.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "channel": "demo", "viewerId": "alice", "allowedOrigins": ["https://www.example.com"]
}))]
pub struct MintRequest {
    /// A channel ARN, or a configured alias.
    #[schema(example = "demo")]
    pub channel: String,
    /// Whom the token is for. Needed to revoke; the lifetime is then at most 600 s.
    #[schema(nullable = false, min_length = 1, max_length = 40)]
    pub viewer_id: Option<String>,
    /// Only with viewerId; absent it is the issue time, or one above the version up to which the viewer
    /// was just revoked.
    #[schema(nullable = false, minimum = 0, maximum = 2_147_483_647)]
    pub viewer_session_version: Option<i64>,
    /// Each is `scheme://host[:port]`, where the host may begin with `*.`; or the single entry `*`. The
    /// service also takes internationalised host names and writes them in punycode. The token may have
    /// at most 8 KiB.
    #[schema(nullable = false, min_items = 1, max_items = 1000)]
    pub allowed_origins: Option<Vec<String>>,
    /// Checks the origin of every request of the player; needs 1 to 5 allowedOrigins without `*`.
    #[schema(nullable = false)]
    pub strict_origin_enforcement: Option<bool>,
    /// The token starts playback once. The lifetime is then at most 600 s.
    #[schema(nullable = false)]
    pub single_use: Option<bool>,
    /// `SD` is up to 480p, `HD` up to 720p, `FULL_HD` up to 1080p.
    #[schema(nullable = false, example = "HD", value_type = Option<MaximumResolution>)]
    pub maximum_resolution: Option<String>,
    /// Lifetime in seconds: 1 to `tokens.max_ttl`, by default `tokens.default_ttl`.
    #[schema(nullable = false, minimum = 1)]
    pub ttl_seconds: Option<i64>,
}

/// What the operator allows, from the `[tokens]` section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The lifetime if a request does not set one.
    pub default_ttl: Duration,
    /// The longest lifetime that a request may set.
    pub max_ttl: Duration,
    /// Whether a token with a viewer id and no session version gets the issue time as its version.
    pub stamp_session_version: bool,
}

impl fmt::Debug for MintRequest {
    /// Hides the values, since they are the viewer's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintRequest").finish_non_exhaustive()
    }
}

/// A rule that a request broke.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = FieldError)]
pub struct Violation {
    /// An RFC 6901 JSON Pointer into the body; `?name` for a parameter of the query.
    #[schema(example = "/viewerId")]
    pub pointer: String,
    /// What is wrong and what to do, as a sentence that repeats no value but a lifetime.
    pub detail: String,
}

/// A channel and the terms of a token for it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The channel that it plays.
    pub channel: ChannelArn,
    /// Everything else.
    pub terms: Terms,
}

/// The terms of a token. Only [`Terms::parse`] makes them, so every rule holds.
#[derive(Clone, Debug)]
pub struct Terms {
    viewer: Option<Viewer>,
    allowed_origins: Option<AllowedOrigins>,
    strict_origin_enforcement: bool,
    single_use: bool,
    maximum_resolution: Option<MaximumResolution>,
    ttl: Duration,
}

impl Terms {
    /// Checks a request against every rule; its channel is for the caller to resolve.
    ///
    /// # Errors
    ///
    /// Every rule that it breaks, in the order of the fields.
    pub fn parse(request: MintRequest, policy: &Policy) -> Result<Self, Vec<Violation>> {
        let mut faults = Faults::default();
        let has_viewer = request.viewer_id.is_some();
        let single_use = request.single_use.unwrap_or(false);
        let strict = request.strict_origin_enforcement.unwrap_or(false);
        let origins_given = request.allowed_origins.as_ref().map(Vec::len);

        let viewer_id = request.viewer_id.and_then(|id| parse_viewer_id(id, &mut faults));
        if let Some(version) = request.viewer_session_version {
            check_session_version(version, has_viewer, &mut faults);
        }
        let allowed_origins =
            request.allowed_origins.and_then(|entries| parse_origins(&entries, &mut faults));
        if strict {
            check_strict(allowed_origins.as_ref(), origins_given, &mut faults);
        }
        let maximum_resolution =
            request.maximum_resolution.and_then(|name| parse_resolution(&name, &mut faults));
        let ttl = choose_ttl(request.ttl_seconds, has_viewer || single_use, policy, &mut faults);

        faults.or(Self {
            viewer: viewer_id
                .map(|id| Viewer { id, session_version: request.viewer_session_version }),
            allowed_origins,
            strict_origin_enforcement: strict,
            single_use,
            maximum_resolution,
            ttl,
        })
    }

    /// Returns the viewer, if the token has one.
    pub fn viewer(&self) -> Option<&Viewer> {
        self.viewer.as_ref()
    }

    /// Returns the origins that may play; `None` lets every origin play.
    pub fn allowed_origins(&self) -> Option<&AllowedOrigins> {
        self.allowed_origins.as_ref()
    }

    /// Returns whether IVS checks the origin on every request.
    pub fn strict_origin_enforcement(&self) -> bool {
        self.strict_origin_enforcement
    }

    /// Returns whether the token starts playback only once.
    pub fn single_use(&self) -> bool {
        self.single_use
    }

    /// Returns the best rendition, if it is limited.
    pub fn maximum_resolution(&self) -> Option<MaximumResolution> {
        self.maximum_resolution
    }

    /// Returns the lifetime, in whole seconds, at least one.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns whether IVS limits the lifetime to [`CAPPED_TTL`].
    pub fn is_capped(&self) -> bool {
        self.viewer.is_some() || self.single_use
    }
}

/// The viewer of a token.
#[derive(Clone, Debug)]
pub struct Viewer {
    id: ViewerId,
    session_version: Option<i64>,
}

impl Viewer {
    /// Returns the viewer id.
    pub fn id(&self) -> &ViewerId {
        &self.id
    }

    /// Returns the session version that was requested, 0 to 2147483647.
    pub fn session_version(&self) -> Option<i64> {
        self.session_version
    }
}

#[derive(Default)]
struct Faults(Vec<Violation>);

impl Faults {
    fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Violation { pointer: pointer.into(), detail: detail.into() });
    }

    fn or<T>(self, value: T) -> Result<T, Vec<Violation>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

fn parse_viewer_id(text: String, faults: &mut Faults) -> Option<ViewerId> {
    ViewerId::parse(text)
        .map_err(|error| faults.add("/viewerId", format!("viewerId {error}.")))
        .ok()
}

fn check_session_version(version: i64, has_viewer: bool, faults: &mut Faults) {
    const POINTER: &str = "/viewerSessionVersion";
    if !has_viewer {
        faults.add(
            POINTER,
            "viewerSessionVersion requires viewerId. Add viewerId, or omit viewerSessionVersion.",
        );
    }
    if !(0..=MAX_VIEWER_SESSION_VERSION).contains(&version) {
        faults.add(
            POINTER,
            "viewerSessionVersion must be from 0 to 2147483647: a larger one could never be \
             revoked. Use seconds, not milliseconds.",
        );
    }
}

fn parse_origins(entries: &[String], faults: &mut Faults) -> Option<AllowedOrigins> {
    const POINTER: &str = "/allowedOrigins";
    match AllowedOrigins::parse(entries) {
        Ok(origins) => return Some(origins),
        Err(OriginListError::Empty) => faults
            .add(POINTER, "allowedOrigins must not be empty. Omit it to let every origin play."),
        Err(OriginListError::TooMany) => faults.add(
            POINTER,
            format!(
                "allowedOrigins has more than {MAX_ORIGINS} entries, which no token has room for. \
                 List fewer (a host may begin with *., as in https://*.example.com)."
            ),
        ),
        Err(OriginListError::Entries(errors)) => {
            for (index, error) in errors.iter().take(MAX_LISTED_FAULTS) {
                faults
                    .add(format!("{POINTER}/{index}"), format!("This is not an origin: {error}."));
            }
            if errors.len() > MAX_LISTED_FAULTS {
                let rest = errors.len() - MAX_LISTED_FAULTS;
                faults.add(POINTER, format!("{rest} more entries are not origins."));
            }
        }
    }
    None
}

/// `given` is the number of entries in the request, even if they are not origins.
fn check_strict(origins: Option<&AllowedOrigins>, given: Option<usize>, faults: &mut Faults) {
    let count = origins.map(AllowedOrigins::len).or(given);
    let detail = match count {
        None => "strictOriginEnforcement requires allowedOrigins. List the origins, or omit it.",
        Some(_) if origins.is_some_and(AllowedOrigins::is_any) => {
            "strictOriginEnforcement with the origin * enforces nothing. List the origins, or omit it."
        }
        Some(count) if count > MAX_STRICT_ORIGINS => {
            "strictOriginEnforcement takes at most 5 allowedOrigins. List fewer (a host may begin \
             with *., as in https://*.example.com), or omit it."
        }
        Some(_) => return,
    };
    faults.add("/strictOriginEnforcement", detail);
}

fn parse_resolution(name: &str, faults: &mut Faults) -> Option<MaximumResolution> {
    let resolution = MaximumResolution::from_name(name);
    if resolution.is_none() {
        faults.add("/maximumResolution", "maximumResolution must be SD, HD or FULL_HD.");
    }
    resolution
}

fn choose_ttl(asked: Option<i64>, capped: bool, policy: &Policy, faults: &mut Faults) -> Duration {
    const POINTER: &str = "/ttlSeconds";
    let Some(asked) = asked else {
        let default =
            if capped { policy.default_ttl.min(CAPPED_DEFAULT_TTL) } else { policy.default_ttl };
        // Claims are in whole seconds, and a token with a lifetime of 0 s would expire at once.
        return Duration::from_secs(default.min(policy.max_ttl).as_secs().max(1));
    };
    let ttl = Duration::from_secs(u64::try_from(asked).unwrap_or(0));
    if ttl.is_zero() {
        faults.add(POINTER, "ttlSeconds must be at least 1. Omit it to use the default.");
    } else if capped && ttl > CAPPED_TTL && CAPPED_TTL <= policy.max_ttl {
        faults.add(
            POINTER,
            format!(
                "ttlSeconds {asked} exceeds {}, the limit for a token with viewerId or singleUse. \
                 Omit it to use the default.",
                CAPPED_TTL.as_secs()
            ),
        );
    } else if ttl > policy.max_ttl {
        faults.add(
            POINTER,
            format!(
                "ttlSeconds {asked} exceeds {}, the longest lifetime that this service mints \
                 (tokens.max_ttl). Omit it to use the default.",
                policy.max_ttl.as_secs()
            ),
        );
    }
    ttl
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        default_ttl: Duration::from_mins(5),
        max_ttl: Duration::from_hours(1),
        stamp_session_version: true,
    };

    fn parse(request: MintRequest) -> Result<Terms, Vec<Violation>> {
        Terms::parse(request, &POLICY)
    }

    fn pointers(request: MintRequest) -> Vec<String> {
        parse(request).unwrap_err().into_iter().map(|violation| violation.pointer).collect()
    }

    fn viewer(id: &str) -> MintRequest {
        MintRequest { viewer_id: Some(id.to_owned()), ..MintRequest::default() }
    }

    fn origins(entries: &[&str]) -> MintRequest {
        let entries = entries.iter().map(|&entry| entry.to_owned()).collect();
        MintRequest { allowed_origins: Some(entries), ..MintRequest::default() }
    }

    #[test]
    fn request_without_terms_is_accepted() {
        let terms = parse(MintRequest::default()).unwrap();
        assert_eq!(terms.ttl(), Duration::from_mins(5));
        assert!(terms.viewer().is_none() && terms.allowed_origins().is_none());
        assert!(!terms.single_use() && !terms.strict_origin_enforcement() && !terms.is_capped());
    }

    #[test]
    fn false_equals_absent() {
        let terms = parse(MintRequest {
            strict_origin_enforcement: Some(false),
            single_use: Some(false),
            ttl_seconds: Some(3600),
            ..MintRequest::default()
        });
        assert_eq!(terms.unwrap().ttl(), Duration::from_hours(1));
    }

    #[test]
    fn viewer_id_has_1_to_40_characters_whatever_their_bytes() {
        assert!(parse(viewer("a")).is_ok());
        assert!(parse(viewer(&"ü".repeat(40))).is_ok());
        assert!(parse(viewer(&"\u{1f3ac}".repeat(40))).is_ok());
        assert_eq!(pointers(viewer("")), ["/viewerId"]);
        assert_eq!(pointers(viewer(&"a".repeat(41))), ["/viewerId"]);
    }

    #[test]
    fn session_version_needs_a_viewer_and_31_bits() {
        let version = |version, id: Option<&str>| MintRequest {
            viewer_session_version: Some(version),
            viewer_id: id.map(str::to_owned),
            ..MintRequest::default()
        };
        for good in [0, 1, 2_147_483_647] {
            let terms = parse(version(good, Some("v"))).unwrap();
            assert_eq!(terms.viewer().unwrap().session_version(), Some(good));
        }
        let pointer = "/viewerSessionVersion";
        for bad in [-1, 2_147_483_648, i64::MAX, i64::MIN] {
            assert_eq!(pointers(version(bad, Some("v"))), [pointer]);
        }
        assert_eq!(pointers(version(1, None)), [pointer]);
        assert_eq!(pointers(version(-1, None)), [pointer, pointer]);
    }

    #[test]
    fn each_faulty_origin_is_reported_with_its_index() {
        assert_eq!(pointers(origins(&[])), ["/allowedOrigins"]);
        assert_eq!(pointers(origins(&["https://a.example/"])), ["/allowedOrigins/0"]);
        assert_eq!(
            pointers(origins(&["https://a.example", "*", "https://b.example", "b.example"])),
            ["/allowedOrigins/1", "/allowedOrigins/3"]
        );
        assert!(parse(origins(&["*"])).is_ok());
    }

    #[test]
    fn many_faulty_origins_get_a_short_answer() {
        let violations = parse(origins(&vec![""; 1000])).unwrap_err();
        assert_eq!(violations.len(), 101);
        assert_eq!(violations[100].detail, "900 more entries are not origins.");
    }

    #[test]
    fn more_origins_than_a_token_holds_are_refused_without_parsing() {
        assert!(parse(origins(&vec!["https://a.example"; 1000])).is_ok());
        for entry in ["https://a.example", ""] {
            assert_eq!(pointers(origins(&vec![entry; 1001])), ["/allowedOrigins"]);
        }
    }

    #[test]
    fn strict_enforcement_needs_one_to_five_named_origins() {
        let strict = |entries: Option<&[&str]>| MintRequest {
            strict_origin_enforcement: Some(true),
            ..entries.map(origins).unwrap_or_default()
        };
        let five = [
            "https://a.test",
            "https://b.test",
            "https://c.test",
            "https://d.test",
            "https://e.test",
        ];
        let six = [&five[..], &["https://f.test"]].concat();
        let same = [&five[..], &["https://A.test:443"]].concat();
        let pointer = "/strictOriginEnforcement";
        assert!(parse(strict(Some(&five))).is_ok());
        assert!(parse(strict(Some(&same))).is_ok(), "two spellings of an origin are one");
        assert_eq!(pointers(strict(Some(&six))), [pointer]);
        assert_eq!(pointers(strict(Some(&["*"]))), [pointer]);
        assert_eq!(pointers(strict(None)), [pointer]);
        assert_eq!(pointers(strict(Some(&["a.test"]))), ["/allowedOrigins/0"]);
        assert_eq!(pointers(strict(Some(&[]))), ["/allowedOrigins"]);
    }

    #[test]
    fn resolution_is_spelled_as_in_ivs() {
        let resolution = |name: &str| MintRequest {
            maximum_resolution: Some(name.to_owned()),
            ..MintRequest::default()
        };
        for known in MaximumResolution::ALL {
            let terms = parse(resolution(known.as_str())).unwrap();
            assert_eq!(terms.maximum_resolution(), Some(known));
        }
        for bad in ["hd", "FULLHD", "", "1080p"] {
            assert_eq!(pointers(resolution(bad)), ["/maximumResolution"]);
        }
    }

    #[test]
    fn default_lifetime_leaves_room_for_clocks_if_ivs_caps_it() {
        let long = Policy { default_ttl: Duration::from_mins(20), ..POLICY };
        let ttl = |request| Terms::parse(request, &long).unwrap().ttl().as_secs();
        let once = MintRequest { single_use: Some(true), ..MintRequest::default() };
        assert_eq!(ttl(MintRequest::default()), 1200);
        assert_eq!(ttl(viewer("v")), 590);
        assert_eq!(ttl(once), 590);
        assert_eq!(ttl(MintRequest { ttl_seconds: Some(600), ..viewer("v") }), 600);
        let short = Policy { max_ttl: Duration::from_mins(1), ..POLICY };
        assert_eq!(Terms::parse(viewer("v"), &short).unwrap().ttl(), Duration::from_mins(1));
    }

    #[test]
    fn lifetime_over_a_limit_is_refused_with_the_limit() {
        let ttl = |seconds| MintRequest { ttl_seconds: Some(seconds), ..MintRequest::default() };
        let detail = |request, policy| {
            let violations = Terms::parse(request, policy).unwrap_err();
            assert_eq!(violations.len(), 1);
            assert_eq!(violations[0].pointer, "/ttlSeconds");
            violations[0].detail.clone()
        };
        assert_eq!(
            detail(MintRequest { viewer_id: Some("v".to_owned()), ..ttl(3600) }, &POLICY),
            "ttlSeconds 3600 exceeds 600, the limit for a token with viewerId or singleUse. Omit it \
             to use the default."
        );
        assert!(detail(ttl(3601), &POLICY).contains("exceeds 3600, the longest lifetime"));
        assert!(detail(ttl(0), &POLICY).contains("at least 1"));
        assert!(detail(ttl(i64::MIN), &POLICY).contains("at least 1"));
        assert!(detail(ttl(i64::MAX), &POLICY).contains("exceeds 3600"));
        let short = Policy { max_ttl: Duration::from_mins(1), ..POLICY };
        let capped = MintRequest { viewer_id: Some("v".to_owned()), ..ttl(601) };
        assert!(detail(capped, &short).contains("exceeds 60,"), "the tighter limit is named");
    }

    #[test]
    fn every_broken_rule_is_reported_at_once() {
        let request = MintRequest {
            channel: String::new(),
            viewer_id: Some(String::new()),
            viewer_session_version: Some(-1),
            allowed_origins: Some(vec!["x".to_owned()]),
            strict_origin_enforcement: Some(true),
            single_use: Some(true),
            maximum_resolution: Some("UHD".to_owned()),
            ttl_seconds: Some(601),
        };
        assert_eq!(
            pointers(request),
            [
                "/viewerId",
                "/viewerSessionVersion",
                "/allowedOrigins/0",
                "/maximumResolution",
                "/ttlSeconds"
            ]
        );
    }

    proptest! {
        #[test]
        fn parsed_terms_keep_every_rule(
            viewer_id in prop::option::of("\\PC{0,45}"),
            version in prop::option::of(any::<i64>()),
            origins in prop::option::of(prop::collection::vec("(https://[a-f]{1,2}\\.test(/)?|\\*)", 0..8)),
            strict in prop::option::of(any::<bool>()),
            single_use in prop::option::of(any::<bool>()),
            ttl in prop::option::of(-10_i64..4000),
        ) {
            let request = MintRequest {
                channel: String::new(),
                viewer_id: viewer_id.clone(),
                viewer_session_version: version,
                allowed_origins: origins,
                strict_origin_enforcement: strict,
                single_use,
                maximum_resolution: None,
                ttl_seconds: ttl,
            };
            match parse(request) {
                Ok(terms) => {
                    prop_assert!(terms.ttl() >= Duration::from_secs(1));
                    prop_assert!(terms.ttl() <= POLICY.max_ttl);
                    prop_assert!(!terms.is_capped() || terms.ttl() <= CAPPED_TTL);
                    if let Some(asked) = ttl {
                        prop_assert_eq!(terms.ttl().as_secs(), u64::try_from(asked).unwrap());
                    }
                    prop_assert!(version.is_none() || terms.viewer().is_some());
                    if terms.strict_origin_enforcement() {
                        let origins = terms.allowed_origins().unwrap();
                        prop_assert!(!origins.is_any() && (1..=5).contains(&origins.len()));
                    }
                }
                Err(violations) => {
                    prop_assert!(!violations.is_empty());
                    for violation in violations {
                        prop_assert!(violation.pointer.starts_with('/'));
                        prop_assert!(violation.detail.ends_with('.'));
                        // Short ids occur in any sentence by chance.
                        if let Some(id) = viewer_id.as_ref().filter(|id| id.chars().count() > 8) {
                            prop_assert!(!violation.detail.contains(id.as_str()));
                        }
                    }
                }
            }
        }
    }
}
