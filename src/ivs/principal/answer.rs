//! Reads the parts of IAM's XML answers that are needed.

use std::collections::BTreeMap;

use aws_smithy_xml::decode::{Document, try_data};

/// Returns what `SimulatePrincipalPolicy` decided, by action; `None` if this is not its answer.
pub(super) fn decisions(xml: &str) -> Option<BTreeMap<String, bool>> {
    let mut decisions = BTreeMap::new();
    let (mut action, mut decision) = (None, None);
    // Each result has one of both, in any order.
    for (name, text) in texts(xml, &["EvalActionName", "EvalDecision"])? {
        match name {
            "EvalActionName" => action = Some(text),
            _ => decision = Some(text == "allowed"),
        }
        if let (Some(action), Some(decision)) = (&action, decision) {
            decisions.insert(action.clone(), decision);
        }
        if action.is_some() && decision.is_some() {
            (action, decision) = (None, None);
        }
    }
    (!decisions.is_empty()).then_some(decisions)
}

/// Returns the ARN in the answer to `GetRole`.
pub(super) fn role_arn(xml: &str) -> Option<String> {
    texts(xml, &["Arn"])?.into_iter().next().map(|(_, arn)| arn)
}

/// Returns the code and message of an error.
pub(super) fn failure(xml: &str) -> Option<(String, String)> {
    let texts = texts(xml, &["Code", "Message"])?;
    let first =
        |wanted| texts.iter().find(|(name, _)| *name == wanted).map(|(_, text)| text.clone());
    Some((first("Code")?, first("Message").unwrap_or_default()))
}

/// Returns the texts of all elements with these names, in their order; `None` if one contains elements.
fn texts<'a>(xml: &str, wanted: &[&'a str]) -> Option<Vec<(&'a str, String)>> {
    let mut document = Document::new(xml);
    let mut texts = Vec::new();
    while let Some(element) = document.next_start_element() {
        if let Some(name) = wanted.iter().find(|name| element.matches(name)) {
            let text = try_data(&mut document.scoped_to(element)).ok()?.into_owned();
            texts.push((*name, text));
        }
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_read_with_their_members_in_any_order() {
        let xml = "<SimulatePrincipalPolicyResponse \
                   xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
                   <SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>\
                   <EvaluationResults><member><MatchedStatements><member>\
                   <SourcePolicyId>a</SourcePolicyId></member></MatchedStatements>\
                   <EvalActionName>ivs:GetChannel</EvalActionName>\
                   <EvalResourceName>*</EvalResourceName><EvalDecision>allowed</EvalDecision>\
                   </member><member><EvalDecision>implicitDeny</EvalDecision><MatchedStatements/>\
                   <EvalActionName>ivs:ImportPlaybackKeyPair</EvalActionName></member><member>\
                   <EvalActionName>ivs:TagResource</EvalActionName>\
                   <EvalDecision>explicitDeny</EvalDecision></member></EvaluationResults>\
                   </SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>";
        let expected = [
            ("ivs:GetChannel", true),
            ("ivs:ImportPlaybackKeyPair", false),
            ("ivs:TagResource", false),
        ];
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(action, decision)| (action.to_owned(), decision)).collect();
        assert_eq!(decisions(xml), Some(expected));
    }

    #[test]
    fn role_is_read_with_its_path_and_error_with_its_code() {
        let arn = "arn:aws:iam::123456789012:role/ecs/playback";
        let xml = format!(
            "<GetRoleResponse><GetRoleResult><Role><Path>/ecs/</Path><Arn>{arn}</Arn>\
                           </Role></GetRoleResult></GetRoleResponse>"
        );
        assert_eq!(role_arn(&xml).as_deref(), Some(arn));
        let xml = "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>The \
                   role &quot;x&quot; cannot be found.</Message></Error></ErrorResponse>";
        let message = "The role \"x\" cannot be found.".to_owned();
        assert_eq!(failure(xml), Some(("NoSuchEntity".to_owned(), message)));
    }

    #[test]
    fn other_texts_are_not_answers() {
        for text in ["", "not xml", "<html><body>Bad gateway</body></html>", "{\"a\":1}", "<Code>"]
        {
            assert_eq!(decisions(text), None, "{text}");
            assert_eq!(role_arn(text), None, "{text}");
        }
        assert_eq!(failure("<html><body>Bad gateway</body></html>"), None);
        assert_eq!(decisions("<EvalDecision><member/></EvalDecision>"), None);
    }
}
