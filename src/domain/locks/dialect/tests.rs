//! Owners in the values of each library, and in those that a user describes.

use super::*;
use crate::domain::locks::{Mono, probe::Beside};

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

/// What a row of the table expects.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Owner(&'static str),
    Nobody,
    Unfit,
}
use Says::{Nobody, Unfit};

/// A value as its library writes it, or doesn't, and where that is known from: `tests/dialects` makes those of the
/// libraries that run there anew; the others are made from the sources, at the version named here.
type Row = (Dialect, &'static [u8], Says);

const RIGATONI: &[u8] = b"shop-7d9c8b6f5d-x2x4z-0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b";
const SHED_LOCK: &[u8] =
    b"ADDED:2026-03-01T12:00:00.123Z@shop-7d9c8b6f5d-x2x4z:0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b";
/// `RedLockHelper.CreateLockId` of DistributedLock.Redis 2.8.1: machine name, process id, GUID in format N.
const DISTRIBUTED_LOCK: &[u8] = b"shop-7d9c8b6f5d-x2x4z_17_0b8f9c1e3a524d3e9f2a6c1d2e3f4a5b";
const POD: Says = Says::Owner("shop-7d9c8b6f5d-x2x4z");

const ROWS: &[Row] = &[
    (Dialect::Rigatoni, RIGATONI, POD),
    // rigatoni-core 0.2.0, pipeline.rs: where the host name can't be read.
    (
        Dialect::Rigatoni,
        b"unknown-0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b",
        Says::Owner("unknown"),
    ),
    (Dialect::Rigatoni, SHED_LOCK, Unfit),
    (
        Dialect::Rigatoni,
        b"\xff-0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b",
        Unfit,
    ),
    // Redlock's, redis-py's, RedBeat's and Laravel's tokens are of any form: rslock's are bytes.
    (Dialect::Redlock, b"3f2a6c1d2e3f4a5b0b8f9c1e3a524d3e", Nobody),
    (Dialect::Redlock, b"\x00\xff\xfe20 bytes of any va", Nobody),
    (Dialect::Redlock, b"", Nobody),
    (Dialect::RedisPy, b"a6b23734e57611f185d902fc00000001", Nobody),
    (Dialect::RedBeat, b"a6b23734e57611f185d902fc00000001", Nobody),
    // Str::random(16) of Laravel 13.26; php's serializer around it with phpredis' option.
    (Dialect::Laravel, b"kXb1cV9zQ0aLmN4p", Nobody),
    (Dialect::Laravel, b"s:16:\"kXb1cV9zQ0aLmN4p\";", Nobody),
    (Dialect::Bull, b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b", Nobody),
    (Dialect::Bull, b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:7", Unfit),
    (Dialect::Bull, b"", Unfit),
    (Dialect::BullMQ, b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:7", Nobody),
    (Dialect::BullMQ, b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b", Unfit),
    (Dialect::BullMQ, b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:", Unfit),
    (
        Dialect::Redisson,
        b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:1",
        Nobody,
    ),
    (
        Dialect::Redisson,
        b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:52:write",
        Nobody,
    ),
    (
        Dialect::Redisson,
        b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b:52:read",
        Unfit,
    ),
    (Dialect::Redisson, b"field", Unfit),
    (Dialect::ShedLock, SHED_LOCK, POD),
    // ShedLock before 4.30 wrote no UUID.
    (
        Dialect::ShedLock,
        b"ADDED:2026-03-01T12:00:00.123Z@shop-7d9c8b6f5d-x2x4z",
        POD,
    ),
    (Dialect::ShedLock, b"ADDED:2026-03-01T12:00:00.123Z@", Unfit),
    (Dialect::ShedLock, b"ADDED:@shop-7d9c8b6f5d-x2x4z", Unfit),
    (
        Dialect::ShedLock,
        b"ADDED:2026-03-01T12:00:00.123Z@host:port",
        Unfit,
    ),
    (
        Dialect::SpringIntegration,
        b"0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b",
        Nobody,
    ),
    (
        Dialect::SpringIntegration,
        b"0B8F9C1E-3A52-4D3E-9F2A-6C1D2E3F4A5B",
        Unfit,
    ),
    (Dialect::DistributedLockNet, DISTRIBUTED_LOCK, POD),
    (
        Dialect::DistributedLockNet,
        b"shop-7d9c8b6f5d-x2x4z_17_0b8f9c1e3a524d3e9f2a6c1d2e3f4a5b_WRITERWAITING",
        POD,
    ),
    (
        Dialect::DistributedLockNet,
        b"A_HOST_17_0b8f9c1e3a524d3e9f2a6c1d2e3f4a5b",
        Says::Owner("a_host"),
    ),
    (
        Dialect::DistributedLockNet,
        b"shop_0b8f9c1e3a524d3e9f2a6c1d2e3f4a5b",
        Unfit,
    ),
    (Dialect::DistributedLockNet, b"", Unfit),
];

/// Whom a hold names, `None` is nobody; an error is a value that fits nothing.
fn said(scheme: &Scheme, hold: &Hold) -> Result<Option<String>, Misfit> {
    match scheme.named(hold) {
        Named::Owner(owner) => Ok(Some(owner.as_str().to_owned())),
        Named::Nobody => Ok(None),
        Named::Unfit => Err(Misfit),
    }
}

#[derive(Debug, PartialEq)]
struct Misfit;

#[test]
fn each_library_s_values_name_whom_they_should() {
    for (dialect, value, expected) in ROWS {
        let scheme = Scheme::of(*dialect, "prefix:").unwrap();
        let expected = match expected {
            Says::Owner(owner) => Ok(Some((*owner).to_owned())),
            Nobody => Ok(None),
            Unfit => Err(Misfit),
        };
        assert_eq!(
            said(&scheme, &says(value)),
            expected,
            "{dialect:?}: {:?}",
            value.escape_ascii()
        );
    }
}

#[test]
fn no_library_with_a_format_takes_bytes_that_are_none_of_its_own() {
    for dialect in [
        Dialect::Rigatoni,
        Dialect::Bull,
        Dialect::BullMQ,
        Dialect::Redisson,
        Dialect::ShedLock,
        Dialect::SpringIntegration,
        Dialect::DistributedLockNet,
    ] {
        let scheme = Scheme::of(dialect, "").unwrap();
        for value in [vec![], vec![0xff; 4096], b"a".repeat(4096), b"\n".to_vec()] {
            assert_eq!(said(&scheme, &says(&value)), Err(Misfit), "{dialect:?}");
        }
        let several = hold(Text::Several, None);
        assert_eq!(said(&scheme, &several), Ok(None), "{dialect:?}: several hold it");
        assert_eq!(
            said(&scheme, &hold(Text::Missing, None)),
            Err(Misfit),
            "{dialect:?}"
        );
    }
}

#[test]
fn what_a_worker_of_bullmq_is_called_stands_beside_its_lock() {
    let scheme = Scheme::of(Dialect::BullMQ, "bull:orders:").unwrap();
    let probe = scheme.probe("bull:orders:", "7", ":lock");
    assert_eq!(&probe.key[..], b"bull:orders:7:lock");
    assert_eq!(
        probe.beside,
        Some(Beside::Field(
            b"bull:orders:7".as_slice().into(),
            b"pb".as_slice().into()
        ))
    );
    let value = format!("{UUID}:3");
    let beside = |beside: &[u8]| hold(Text::One(HolderValue(value.as_bytes().into())), Some(beside));
    assert_eq!(
        said(&scheme, &beside(b"shop-1.shop.svc")),
        Ok(Some("shop-1".into()))
    );
    assert_eq!(said(&scheme, &beside(b"\xff")), Err(Misfit), "a name is text");
    assert_eq!(said(&scheme, &beside(b".")), Err(Misfit));
    let foreign = hold(
        Text::One(HolderValue(b"other".as_slice().into())),
        Some(b"shop-1"),
    );
    assert_eq!(
        said(&scheme, &foreign),
        Err(Misfit),
        "a name beside a lock of something else says nothing"
    );
}

#[test]
fn whose_owners_can_be_told_and_whose_need_a_change_is_the_same_question() {
    for dialect in DIALECTS {
        let Some(scheme) = Scheme::of(dialect, "") else {
            continue;
        };
        let by_itself = scheme.tells_owners() && scheme.beside.is_none();
        assert_eq!(remedy(dialect).is_none(), by_itself, "{dialect:?}");
    }
}

const DIALECTS: [Dialect; 12] = [
    Dialect::Rigatoni,
    Dialect::Redlock,
    Dialect::Bull,
    Dialect::BullMQ,
    Dialect::Redisson,
    Dialect::ShedLock,
    Dialect::SpringIntegration,
    Dialect::DistributedLockNet,
    Dialect::RedisPy,
    Dialect::RedBeat,
    Dialect::Laravel,
    Dialect::Custom,
];

#[test]
fn every_library_s_defaults_renew_before_the_lock_runs_out() {
    for dialect in DIALECTS {
        let Defaults {
            ttl, renew_interval, ..
        } = defaults(dialect);
        let fits = match (ttl, renew_interval) {
            (Some(ttl), Some(renew)) => *renew * 2 <= *ttl,
            (Some(_) | None, None) => true,
            (None, Some(_)) => false,
        };
        assert!(fits, "{dialect:?}");
    }
}

#[test]
fn a_time_in_a_value_is_no_part_of_its_holder() {
    let part = Part::WithoutSince(Pattern::ADDED_AT);
    let at = |time: &str| part.of(format!("ADDED:{time}@host:{UUID}").as_bytes()).0;
    assert_eq!(at("2026-03-01T12:00:00.123Z"), at("2026-03-01T12:00:09.999Z"));
    let other = part
        .of(format!("ADDED:2026-03-01T12:00:00.123Z@other:{UUID}").as_bytes())
        .0;
    assert_ne!(at("2026-03-01T12:00:00.123Z"), other);
    assert_eq!(&part.of(b"anything").0[..], b"anything");
}

#[test]
fn owners_are_compared_as_what_they_are() {
    for (matches, raw, owner) in [
        (OwnerMatch::PodName, "Shop-0.shop.svc", Some("shop-0")),
        (OwnerMatch::PodName, ".svc", None),
        (OwnerMatch::PodUid, "0B8F9C1E-3a52", Some("0b8f9c1e-3a52")),
        (OwnerMatch::PodIp, "10.0.0.7", Some("10.0.0.7")),
        (OwnerMatch::PodIp, "::ffff:10.0.0.7", Some("10.0.0.7")),
        (OwnerMatch::PodIp, "[FD00::0007]", Some("fd00::7")),
        (OwnerMatch::PodIp, "10.0.0.7:8080", None),
        (OwnerMatch::PodIp, "shop-0", None),
        (OwnerMatch::Label("a".into()), "Blue.1", Some("Blue.1")),
        (OwnerMatch::Annotation("a".into()), "", None),
    ] {
        let found = matches.owner(raw.as_bytes());
        assert_eq!(found.as_ref().map(Owner::as_str), owner, "{matches:?}: {raw}");
        assert!(matches.owner(b"\xff\xfe").is_none(), "{matches:?}");
    }
}

/// The regular expressions of each library's values, with a UUID written out where sources abbreviate it.
fn by_regex() -> [(Pattern, Pattern); 6] {
    const HEX: &str = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
    let regex = |source: &str| Pattern::custom(&source.replace("UUID", HEX)).unwrap();
    [
        (Pattern::NAME_AND_UUID, regex("(?<owner>.+)-UUID")),
        (Pattern::UUID, regex("(?<holder>UUID)")),
        (Pattern::UUID_AND_NUMBER, regex(r"(?<holder>UUID):\d+")),
        (Pattern::UUID_AND_THREAD, regex(r"(?<holder>UUID):\d+(?::write)?")),
        (
            Pattern::ADDED_AT,
            regex("ADDED:(?<since>[^@]+)@(?<owner>[^:]+)(?::UUID)?"),
        ),
        (
            Pattern::NAME_NUMBER_AND_HEX,
            regex(r"(?<owner>.+)_\d+_[0-9a-f]{32}(?:_WRITERWAITING)?"),
        ),
    ]
}

#[test]
fn regular_expressions_read_every_library_alike() {
    let patterns = by_regex();
    let pieces = proptest::sample::select(vec![
        b"-".as_slice(),
        b":",
        b"_",
        b"@",
        b"host",
        b"\n",
        b"\xff",
        b"7",
        b"ADDED:",
        b"2026-03-01T12:00:00.123Z",
        b":write",
        b"_WRITERWAITING",
        UUID.as_bytes(),
        b"0B8F9C1E-3A52-4D3E-9F2A-6C1D2E3F4A5B",
        b"0b8f9c1e3a524d3e9f2a6c1d2e3f4a5b",
        b"-0b8f9c1e-3a52-4d3e-9f2a-6c1d2e3f4a5b",
    ]);
    let config = proptest::test_runner::Config::with_cases(4_000);
    proptest::proptest!(config, |(pieces in proptest::collection::vec(pieces, 0..7))| {
        let value = pieces.concat();
        for (hand, regex) in &patterns {
            proptest::prop_assert_eq!(hand.captures(&value), regex.captures(&value), "{:?}", hand);
        }
    });
    // What libraries write is among what both were compared on.
    for (_, value, _) in ROWS {
        for (hand, regex) in &patterns {
            assert_eq!(hand.captures(value), regex.captures(value), "{hand:?}");
        }
    }
}
