//! `keys doctor`: what it finds, and what it asks IAM.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::keys::World;

#[test]
fn where_all_is_well_it_says_so_and_what_it_does_not_know() {
    let world = World::with_key();
    let examined = world.json(&["doctor"]);
    assert_eq!(examined["healthy"], true, "{examined}");
    assert_eq!(examined["account"], "123456789012");
    let codes = codes(&examined, "ok");
    assert_eq!(codes, ["keyring", "active_key", "quota", "clock"]);
    assert_eq!(answer(&examined, "ivs:GetChannel"), "allowed");
    assert_eq!(answer(&examined, "ivs:GetPlaybackKeyPair"), "allowed");
    assert_eq!(answer(&examined, "ivs:ImportPlaybackKeyPair"), "unknown");
}

#[test]
fn each_finding_says_what_to_do() {
    let world = World::new();
    let empty = world.keys(&["doctor"]);
    assert_eq!(empty.code, Some(1), "{empty:?}");
    assert!(empty.stdout.contains("keys rotate --region us-west-2"), "{empty:?}");

    let world = World::with_key();
    let keyring = world.path("keys/us-west-2/keyring.json");
    std::fs::set_permissions(&keyring, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.keys(&["doctor"]);
    assert_eq!(open.code, Some(1), "{open:?}");
    assert!(
        open.stdout.contains("wide_permissions") && open.stdout.contains("chmod -R"),
        "{open:?}"
    );
    std::fs::set_permissions(&keyring, std::fs::Permissions::from_mode(0o600)).unwrap();

    let unreachable = [("AWS_ENDPOINT_URL_IVS", "http://127.0.0.1:9"), ("IVS__TIMEOUT", "1s")];
    let cut_off = world.keys_with(&unreachable, &["doctor", "--output", "json"]);
    assert_eq!(cut_off.code, Some(1), "{cut_off:?}");
    assert_eq!(codes(&cut_off.json(), "error"), ["not_reconciled"]);
}

#[test]
fn iam_tells_what_was_not_tried() {
    let world = World::with_key();
    let aws = Aws::start();
    let own = [("AWS_ENDPOINT_URL_STS", &*aws.url), ("AWS_ENDPOINT_URL_IAM", &aws.url)];
    let examined = world.keys_with(&own, &["doctor", "--simulate", "--output", "json"]);
    assert_eq!(examined.code, Some(1), "{examined:?}");
    let examined = examined.json();
    assert_eq!(answer(&examined, "ivs:ImportPlaybackKeyPair"), "allowed");
    assert_eq!(answer(&examined, "ivs:DeletePlaybackKeyPair"), "denied");
    // What was called counts more.
    assert_eq!(answer(&examined, "ivs:GetPlaybackKeyPair"), "allowed");
    assert_eq!(codes(&examined, "error"), ["permission_denied"]);

    let asked = aws.asked();
    let about_pairs = asked.iter().find(|it| it.contains("ivs%3AImportPlaybackKeyPair")).unwrap();
    for expected in [
        "Action=SimulatePrincipalPolicy",
        "Version=2010-05-08",
        "PolicySourceArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fecs%2Fplayback",
        "ResourceArns.member.1=arn%3Aaws%3Aivs%3Aus-west-2%3A123456789012%3Aplayback-key%2F*",
        "/us-east-1/iam/aws4_request",
    ] {
        assert!(about_pairs.contains(expected), "{expected}: {about_pairs}");
    }
}

#[test]
fn an_iam_that_does_not_answer_is_a_warning() {
    let world = World::with_key();
    // The emulator of IVS is no STS.
    let nowhere = "http://127.0.0.1:9";
    let own = [("AWS_ENDPOINT_URL_STS", nowhere), ("AWS_ENDPOINT_URL_IAM", nowhere)];
    let examined = world.keys_with(&own, &["doctor", "--simulate", "--output", "json"]);
    assert_eq!(examined.code, Some(0), "{examined:?}");
    assert_eq!(codes(&examined.json(), "warning"), ["simulation_failed"]);
    assert!(examined.stdout.contains("AWS STS could not return the identity"), "{examined:?}");
}

fn codes<'a>(examined: &'a Value, severity: &str) -> Vec<&'a str> {
    let findings = examined["findings"].as_array().unwrap().iter();
    findings
        .filter(|it| it["severity"] == severity)
        .map(|it| it["code"].as_str().unwrap())
        .collect()
}

fn answer<'a>(examined: &'a Value, action: &str) -> &'a str {
    let permissions = examined["permissions"].as_array().unwrap();
    permissions.iter().find(|it| it["action"] == action).unwrap()["answer"].as_str().unwrap()
}

/// Answers as STS and IAM do for a session of a role with a path, which may not delete key pairs.
struct Aws {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Aws {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // Ends with the test binary.
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &noted);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request a connection.
fn serve(mut stream: TcpStream, noted: &Mutex<Vec<String>>) {
    let mut request = String::new();
    let mut buffer = [0; 4096];
    while !is_whole(&request) {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            return;
        }
        request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    let (status, body) = answer_to(&request);
    noted.lock().unwrap().push(request);
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/xml\r\nconnection: close\r\ncontent-length: \
         {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

fn answer_to(request: &str) -> (&'static str, String) {
    let role = "arn:aws:iam::123456789012:role/ecs/playback";
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    if body.contains("Action=GetCallerIdentity") {
        let arn = "arn:aws:sts::123456789012:assumed-role/playback/i-0abc";
        let answer = format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn><Account>\
             123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        );
        return ("200 OK", answer);
    }
    if body.contains("Action=GetRole") {
        let answer = format!(
            "<GetRoleResponse><GetRoleResult><Role><Arn>{role}</Arn></Role></GetRoleResult>\
             </GetRoleResponse>"
        );
        return ("200 OK", answer);
    }
    if !body.contains("role%2Fecs%2Fplayback") {
        let answer = "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>No such role.\
                      </Message></Error></ErrorResponse>";
        return ("404 Not Found", answer.to_owned());
    }
    let mut members = String::new();
    for action in body.split('&').filter(|it| it.starts_with("ActionNames")) {
        let action = action.split_once('=').unwrap().1.replace("%3A", ":");
        let is_denied = action.contains("Delete") || action.contains("GetPlaybackKeyPair");
        let decision = if is_denied { "implicitDeny" } else { "allowed" };
        write!(
            members,
            "<member><EvalActionName>{action}</EvalActionName><EvalDecision>{decision}\
             </EvalDecision></member>"
        )
        .unwrap();
    }
    let answer = format!(
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults>\
         {members}</EvaluationResults></SimulatePrincipalPolicyResult>\
         </SimulatePrincipalPolicyResponse>"
    );
    ("200 OK", answer)
}
