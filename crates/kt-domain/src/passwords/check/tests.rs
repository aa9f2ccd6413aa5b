use proptest::prelude::*;

use super::super::policy::Preset;
use super::*;

const NOBODY: Context<'static> =
    Context { name: "", address: "", organization_name: "", organization_identifier: "" };

const JANE: Context<'static> = Context {
    name: "Jane Tarkowski",
    address: "jane.tarkowski@blueharbour.example",
    organization_name: "Acme",
    organization_identifier: "acme",
};

/// What a policy that demands nothing but length leaves: the rules that hold always.
fn only_length(min_length: u32) -> PasswordPolicy {
    PasswordPolicy { min_length, ..Preset::Nist80063b.policy(false) }
}

fn codes(policy: &PasswordPolicy, password: &str, context: &Context) -> Vec<&'static str> {
    let password = Password::new(password).unwrap();
    check(policy, &password, context).iter().map(Violation::code).collect()
}

#[test]
fn each_demand_of_the_policy_is_met_or_named() {
    let recommended = PasswordPolicy::default();
    let cases: [(&str, &[&str]); 9] = [
        ("Vexing-otter7", &[]),
        ("Vexing-ott7", &["password_too_short"]),
        ("vexing-otter7", &["password_needs_uppercase"]),
        ("Vexing-otters", &["password_needs_number"]),
        ("VexingXotter7", &["password_needs_special"]),
        (
            "vexingottersplumb",
            &["password_needs_uppercase", "password_needs_number", "password_needs_special"],
        ),
        ("Ünruhig otter ٧", &[]),
        ("Vexing otter7", &[]),
        ("Vexingotter\u{1F98A}7", &[]),
    ];
    for (password, expected) in cases {
        assert_eq!(codes(&recommended, password, &NOBODY), expected, "{password}");
    }
}

#[test]
fn all_violations_come_at_once_and_each_says_what_to_do() {
    let password = Password::new("acme").unwrap();
    let violations = check(&PasswordPolicy::default(), &password, &JANE);
    let told: Vec<_> = violations.iter().map(|violation| (violation.code(), violation.to_string())).collect();
    let expected = [
        ("password_too_short", "use at least 12 characters: this has 4"),
        ("password_needs_uppercase", "add an upper-case letter"),
        ("password_needs_number", "add a digit"),
        (
            "password_needs_special",
            "add a character that is neither a letter nor a digit, such as a space or `-`",
        ),
        (
            "password_personal",
            "leave out \u{201c}Acme\u{201d}: it belongs to you, your organization or this product",
        ),
    ];
    for (at, (code, sentence)) in expected.into_iter().enumerate() {
        assert_eq!(told[at], (code, sentence.to_owned()));
    }
    assert_eq!(told[5].0, "password_weak");
    assert!(told[5].1.starts_with("make it harder to guess"), "{}", told[5].1);
    assert_eq!(told.len(), 6);
}

#[test]
fn length_counts_characters_and_an_emoji_is_one() {
    let emoji = "\u{1F98A}\u{1F34B}\u{1F3BB}\u{1F9ED}\u{1F6F6}\u{1F40C}\u{1F9F2}\u{1F56F}\u{1F9C0}\u{1F335}\u{1FA81}\u{1F6B2}\u{1F52D}\u{1F9E6}\u{1F42B}";
    assert_eq!(emoji.chars().count(), 15);
    let cases = [
        (15, emoji.to_owned(), true),
        (15, emoji.chars().take(14).collect(), false),
        (15, "kqzvtmwyhbnrpxj".to_owned(), true),
        (15, "kqzvtmwyhbnrpx".to_owned(), false),
        (12, "kqzvtmwyhbnr".to_owned(), true),
        (12, "kqzvtmwyhbn".to_owned(), false),
        // Sixteen typed, fifteen characters: an e with its accent is one.
        (16, "kqzvtmwyhbnrpxe\u{301}".to_owned(), false),
    ];
    for (least, password, accepted) in cases {
        let expected: &[&str] = if accepted { &[] } else { &["password_too_short"] };
        assert_eq!(codes(&only_length(least), &password, &NOBODY), expected, "{least} {password}");
    }
}

#[test]
fn eight_characters_are_the_least_whatever_the_policy_says() {
    for least in [0, 1, 8] {
        let is_short =
            |password| codes(&only_length(least), password, &NOBODY).contains(&"password_too_short");
        assert!(is_short("kqzvtmw"), "{least}");
        assert!(!is_short("kqzvtmwy"), "{least}");
    }
}

#[test]
fn the_longest_accepted_password_may_be_chosen() {
    let long: String = "vexing otter plumbs azure kettles; ".chars().cycle().take(256).collect();
    assert_eq!(codes(&only_length(15), &long, &NOBODY), [""; 0]);
    let longer = format!("{long}x");
    assert_eq!(Violation::from(Password::new(&longer).unwrap_err()).code(), "password_too_long");
}

#[test]
fn common_passwords_are_refused_at_any_length() {
    for password in ["password", "PassWord", "1qaz2wsx3edc4rfv", "saturdaymorningcartoon", "computerscience"]
    {
        assert!(codes(&only_length(8), password, &NOBODY).contains(&"password_common"), "{password}");
    }
    assert_eq!(codes(&only_length(8), "saturdaymorning~cartoon", &NOBODY), [""; 0]);
}

#[test]
fn what_belongs_to_the_account_is_refused_and_is_fine_for_another() {
    let passwords = [
        "acmecorp-acmecorp1-vexing",
        "vexing-t4rk0wsk1-azure",
        "azure vexing JANE plumbs",
        "Blueharbour vexing otter",
        "vexing otter BLU3H4RB0UR",
    ];
    for password in passwords {
        assert!(codes(&only_length(15), password, &JANE).contains(&"password_personal"), "{password}");
        assert_eq!(codes(&only_length(15), password, &NOBODY), [""; 0], "{password}");
    }
    assert!(codes(&only_length(15), "vexing keeptrusts otter", &NOBODY).contains(&"password_personal"));
}

#[test]
fn what_is_guessed_soon_is_refused_although_it_has_every_kind_of_character() {
    for password in ["Password-1234", "Qwertyuiop-12", "Aaaaaaaaaaa-1"] {
        let codes = codes(&PasswordPolicy::default(), password, &NOBODY);
        assert_eq!(codes, ["password_weak"], "{password}");
    }
}

#[test]
fn characters_that_may_still_change_are_refused() {
    assert_eq!(
        codes(&only_length(15), "vexing otter \u{378} azure", &NOBODY),
        ["password_unassigned_character"]
    );
}

#[test]
fn any_kind_of_character_will_do_where_none_is_demanded() {
    let passwords = ["kqzvtmwyhbnrpxj", "   kqz vtm wyh bnr   ", "кфзвтмвыхбнрпхж", "\tkqzvtm\nwyhbnr\0x"];
    for password in passwords {
        assert_eq!(codes(&only_length(15), password, &NOBODY), [""; 0], "{password:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A policy that asks for more never finds less.
    #[test]
    fn a_stricter_policy_accepts_nothing_more(text in "\\PC{0,40}", floor in policies(), other in policies()) {
        let strict = PasswordPolicy {
            min_length: floor.min_length.max(other.min_length),
            require_uppercase: floor.require_uppercase || other.require_uppercase,
            require_number: floor.require_number || other.require_number,
            require_special: floor.require_special || other.require_special,
            ..floor
        };
        prop_assert!(strict.looser_than(&floor).is_empty());
        let (mild, strict) = (codes(&floor, &text, &NOBODY), codes(&strict, &text, &NOBODY));
        prop_assert!(mild.iter().all(|code| strict.contains(code)), "{mild:?} {strict:?}");
    }
}

prop_compose! {
    fn policies()(
        min_length in 8_u32..=64,
        (require_uppercase, require_number, require_special) in any::<(bool, bool, bool)>(),
    ) -> PasswordPolicy {
        PasswordPolicy { require_uppercase, require_number, require_special, ..only_length(min_length) }
    }
}
