//! Owners in the values of each library, and in those that a user describes.

use super::*;
use crate::domain::locks::Mono;

const UUID: &str = "0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b";

/// A hold whose lock says this.
fn hold(text: Text, beside: Option<&[u8]>) -> Hold {
    Hold {
        value: HolderValue(b"".as_slice().into()),
        text,
        beside: beside.map(|said| HolderValue(said.into())),
        first_seen: Mono::default(),
        seen_taken: false,
        last_answer: Mono::default(),
        last_renewed: None,
        deadline: None,
        uncertainty: std::time::Duration::ZERO,
        no_expiry: false,
        largest_ttl: None,
    }
}

fn says(text: impl AsRef<[u8]>) -> Hold {
    hold(Text::One(HolderValue(text.as_ref().into())), None)
}

/// The pod's name that a pattern finds in a value.
fn name(pattern: &Pattern, value: impl AsRef<[u8]>) -> Option<String> {
    let scheme = Scheme {
        form: whole(),
        pattern: Some(pattern.clone()),
        beside: None,
        matches: OwnerMatch::PodName,
    };
    match scheme.named(&says(value)) {
        Named::Owner(owner) => Some(owner.as_str().to_owned()),
        Named::Nobody | Named::Unfit => None,
    }
}

#[test]
fn rigatoni_names_the_host_before_the_uuid() {
    let pattern = Pattern::NAME_AND_UUID;
    let long = "x".repeat(4096 - 1 - UUID.len());
    for (host, owner) in [
        ("rigatoni-6f7b9c8d5-x2x4z", "rigatoni-6f7b9c8d5-x2x4z"),
        ("Rigatoni-0", "rigatoni-0"),
        ("rigatoni-0.rigatoni.shop.svc.cluster.local", "rigatoni-0"),
        // A host name that itself ends like a value: only the last UUID is the library's.
        (&format!("host-{UUID}"), &format!("host-{UUID}")),
        (&long, &long),
    ] {
        assert_eq!(name(&pattern, format!("{host}-{UUID}")).as_deref(), Some(owner));
    }
}

#[test]
fn rigatoni_takes_no_other_value() {
    let pattern = Pattern::NAME_AND_UUID;
    for value in [
        String::new(),
        UUID.to_owned(),
        format!("-{UUID}"),
        format!(".local-{UUID}"),
        format!("host_{UUID}"),
        format!("host-{UUID} "),
        format!("host-{}", UUID.to_uppercase()),
        format!("host-{}", &UUID[..35]),
        format!("host-{}g", &UUID[..35]),
        format!("host-{}", UUID.replace('-', "0")),
    ] {
        assert_eq!(name(&pattern, &value), None, "{value}");
    }
    assert_eq!(name(&pattern, vec![0xff; 4096]), None);
    assert_eq!(
        name(&pattern, [b"\xff\xfe-", UUID.as_bytes()].concat()),
        None,
        "a host name is text"
    );
}

#[test]
fn a_custom_pattern_is_anchored() {
    let pattern = Pattern::custom("(?<owner>[a-z0-9-]+)|x(?P<holder>y)").unwrap();
    assert_eq!(name(&pattern, "pod-1").as_deref(), Some("pod-1"));
    for value in ["pod-1 ", " pod-1", "pod-1\n", "pod_1", ""] {
        assert_eq!(name(&pattern, value), None, "{value:?}");
    }
    // Alternatives are tried until the whole value fits, not the first that fits its beginning.
    let pattern = Pattern::custom("(?<owner>a|ab)").unwrap();
    assert_eq!(name(&pattern, "ab").as_deref(), Some("ab"));
}

#[test]
fn a_custom_pattern_may_carry_its_own_anchors_and_comments() {
    for source in [
        "^(?P<owner>.+):.*$",
        "(?x) (?<owner> .+ ) : .*  # the rest is random",
    ] {
        let pattern = Pattern::custom(source).unwrap();
        assert_eq!(name(&pattern, "pod-1:77").as_deref(), Some("pod-1"), "{source}");
    }
}

#[test]
fn a_custom_pattern_works_on_bytes() {
    let pattern = Pattern::custom(r".{20}(?<owner>.+)").unwrap();
    let mut value = vec![0xff; 19];
    value.push(b'\n');
    value.extend_from_slice(b"POD-1.shop");
    assert_eq!(name(&pattern, &value).as_deref(), Some("pod-1"));
    value.push(0xff);
    assert_eq!(name(&pattern, &value), None, "an owner is text");
    let mut value = vec![0x80; 20];
    value.resize(4096, b'a');
    assert_eq!(name(&pattern, &value).map(|owner| owner.len()), Some(4076));
}

#[test]
fn a_group_that_took_no_part_names_nobody() {
    let pattern = Pattern::custom("free|(?<owner>pod-.*)").unwrap();
    assert_eq!(name(&pattern, "free"), None);
}

#[test]
fn unusable_patterns_say_why() {
    for (source, why) in [
        ("(?<owner>.+", "is not a valid regular expression: unclosed group"),
        (
            "a)|(?:(?<owner>b)",
            "is not a valid regular expression: unopened group",
        ),
        (
            r"(?<owner>.+)\1",
            "is not a valid regular expression: backreferences are not supported",
        ),
        (
            "(?<owner>.+)(?=x)",
            "is not a valid regular expression: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            "(?<owner>(.{1000}){1000})",
            "is too large when compiled: use smaller repetition counts",
        ),
        (
            ".+",
            "has no group named owner or holder: write (?<owner>…) around what names the pod, or (?<holder>…) around \
             what tells processes apart",
        ),
    ] {
        assert_eq!(Pattern::custom(source).unwrap_err().to_string(), why, "{source}");
    }
    let deep = format!("{}(?<owner>a){}", "(".repeat(200), ")".repeat(200));
    assert!(matches!(Pattern::custom(&deep), Err(PatternError::Syntax(_))));
}

#[test]
fn patterns_are_equal_by_their_text() {
    let pattern = |source| Pattern::custom(source).unwrap();
    assert_eq!(pattern("(?<owner>a)"), pattern("(?<owner>a)"));
    assert_ne!(pattern("(?<owner>a)"), pattern("(?P<owner>a)"));
    assert_ne!(pattern("(?<owner>a)"), Pattern::NAME_AND_UUID);
    assert_eq!(Pattern::NAME_AND_UUID, Pattern::NAME_AND_UUID);
}

#[test]
fn debug_shows_no_value() {
    let scheme = Scheme::of(Dialect::Rigatoni, "").unwrap();
    let hold = says(format!("secret-{UUID}"));
    assert_eq!(format!("{:?}", scheme.named(&hold)), "Owner(Owner(6 bytes))");
}

#[test]
fn a_regular_expression_reads_rigatoni_alike() {
    let regex = Pattern::custom("(?<owner>.+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
    let hand = Pattern::NAME_AND_UUID;
    proptest::proptest!(|(value in "[a-fA-F0-9.\\-]{0,60}", uuid: bool)| {
        let value = if uuid { format!("{value}{UUID}") } else { value };
        proptest::prop_assert_eq!(name(&regex, &value), name(&hand, &value));
    });
}
