use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::id::UserId;

fn code<T: std::fmt::Debug>(read: Result<T, Error>) -> &'static str {
    read.expect_err("it is refused").code
}

#[test]
fn filters_find_by_one_attribute_and_nothing_else() {
    let parse = |filter| Equals::parse(filter, &["username", "externalid"]);
    let table = [
        (r#"userName eq "ada@example.com""#, ("username", "ada@example.com")),
        (r#"USERNAME EQ "a b""#, ("username", "a b")),
        (r#"  externalId  eq  "x \"y\" ü"  "#, ("externalid", "x \"y\" ü")),
        (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a""#, ("username", "a")),
    ];
    for (filter, (attribute, value)) in table {
        let expected = Equals { attribute: attribute.into(), value: value.into() };
        assert_eq!(parse(filter).ok(), Some(expected), "{filter}");
    }
    for filter in [
        "",
        "userName",
        "userName eq",
        "userName eq ada",
        "userName eq 'ada'",
        r#"userName eq "ada" or active eq true"#,
        r#"userName eq "ada" and externalId eq "x""#,
        r#"not (userName eq "ada")"#,
        r#"userName co "a""#,
        r#"userName ne "ada""#,
        "userName pr",
        r#"password eq "x""#,
        r#"emails[type eq "work"].value eq "a""#,
        r#"userName eq "unfinished"#,
        "userName eq null",
        "userName eq true",
        r#"user Name eq "a""#,
    ] {
        assert_eq!(code(parse(filter)), "invalidFilter", "{filter}");
    }
    assert_eq!(code(parse(&format!("userName eq \"{}\"", "a".repeat(2000)))), "invalidFilter");
}

#[test]
fn conditions_are_joined_and_addresses_are_found_by_their_kind_as_entra_id_asks() {
    let work = r#"emails[type eq "work"].value"#;
    let all = |filter: &str| Equals::all(filter, &["id", "members", work]);
    let equals = |attribute: &str, value: &str| Equals { attribute: attribute.into(), value: value.into() };
    for (filter, expected) in [
        (r#"id eq "1""#, vec![equals("id", "1")]),
        (r#"id eq "1" and members eq "a and b""#, vec![equals("id", "1"), equals("members", "a and b")]),
        (r#"members eq "2" AND id eq "1" "#, vec![equals("members", "2"), equals("id", "1")]),
        (r#"emails[type eq "work"].value eq "a@b.example""#, vec![equals(work, "a@b.example")]),
        (r#"Emails[type eq "work"].value Eq "a b""#, vec![equals(work, "a b")]),
    ] {
        assert_eq!(all(filter).ok(), Some(expected), "{filter}");
    }
    for filter in [
        r#"id eq "1" or members eq "2""#,
        r#"id eq "1" and"#,
        r#"id eq "1" and members"#,
        r#"id eq "1" and id eq "1" and id eq "1""#,
        r#"id eq "1"and members eq "2""#,
        r#"id eq "1" members eq "2""#,
        r#"emails[type eq "home"].value eq "a""#,
        r#"emails[type eq "work" eq "a""#,
        r#"emails[type eq "work"].display eq "a""#,
        r#"emails[].value eq "a""#,
        "emails[ eq \"a\"",
    ] {
        assert_eq!(code(all(filter)), "invalidFilter", "{filter}");
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_for_is_read_back_or_refused(value: String, noise: String) {
        let filter = format!("userName eq {}", serde_json::to_string(&value).unwrap());
        if filter.len() <= 1024 {
            let read = Equals::parse(&filter, &["username"]);
            prop_assert_eq!(read.map(|read| read.value).ok(), Some(value));
        }
        if let Err(refusal) = Equals::all(&noise, &["username"]) {
            prop_assert_eq!(refusal.code, "invalidFilter");
        }
        if let Err(refusal) = Equals::parse(&noise, &["username"]) {
            prop_assert_eq!(refusal.code, "invalidFilter");
        }
    }
}

fn patched(list: &Value) -> Result<UserChange, Error> {
    UserChange::of_operations(&operations(&json!({ "Operations": list }))?)
}

#[test]
fn a_user_is_deactivated_in_every_spelling() {
    for operation in [
        json!({ "op": "replace", "path": "active", "value": false }),
        json!({ "op": "Replace", "path": "active", "value": "False" }),
        json!({ "op": "replace", "value": { "active": false } }),
        json!({ "op": "Add", "path": "urn:ietf:params:scim:schemas:core:2.0:User:active", "value": "false" }),
        json!({ "OP": "REPLACE", "PATH": "ACTIVE", "VALUE": [{ "value": "False" }] }),
        json!({ "op": "replace", "value": { "urn:ietf:params:scim:schemas:core:2.0:User:active": false } }),
    ] {
        let change = patched(&json!([operation]));
        assert_eq!(
            change.as_ref().ok().and_then(|change| change.active),
            Some(false),
            "{operation}: {change:?}"
        );
    }
    let passed_over = patched(&json!([
        { "op": "add", "path": "emails[type eq \"work\" and primary eq true].value", "value": "eve@example.com" },
        { "op": "replace", "path": "roles[primary eq \"True\"].value", "value": "owner" },
        { "op": "replace", "path": "id", "value": "usr_1" },
    ]));
    assert_eq!(passed_over.ok(), Some(UserChange::default()), "what is not kept here changes nothing");
    let last = patched(&json!([
        { "op": "replace", "path": "active", "value": false },
        { "op": "replace", "path": "active", "value": true },
    ]));
    assert_eq!(last.unwrap().active, Some(true), "the later one holds");
}

#[test]
fn the_end_of_access_is_read_whatever_stands_beside_it() {
    let operation = |active: Value| json!({ "op": "replace", "path": "active", "value": active });
    let (off, on) = (operation(json!(false)), operation(json!("True")));
    let unknown = json!({ "op": "move", "path": "active", "value": false });
    for (list, ends) in [
        (json!([unknown, off, "x"]), true),
        (json!([on, { "op": "Add", "value": { "displayName": 1, "ACTIVE": "False" } }]), true),
        (json!([off, operation(json!("perhaps"))]), true),
        (json!([off, on, "x"]), false),
        (json!([unknown]), false),
        (json!([{ "op": "remove", "path": "active", "value": false }]), false),
        (json!(off), false),
    ] {
        let request = UserRequest::of_operations(&json!({ "Operations": list }));
        assert_eq!((request.ends_access, request.change.is_err()), (ends, true), "{list}");
    }
    for (user, ends) in [
        (json!({ "urn:ietf:params:scim:schemas:core:2.0:User:active": "False" }), true),
        (json!({ "active": [{ "value": false }], "externalId": 42 }), true),
        (json!({ "active": true }), false),
        (json!({ "active": "perhaps" }), false),
        (json!([{ "active": false }]), false),
    ] {
        let request = UserRequest::of_resource(&user);
        assert_eq!((request.ends_access, request.change.is_err()), (ends, true), "{user}");
    }
    let fine = UserRequest::of_resource(&json!({ "userName": "ada@example.com", "active": false }));
    assert!(fine.ends_access && fine.change.is_ok(), "the control");
}

#[test]
fn names_are_put_together_from_what_was_sent() {
    let change = patched(&json!([
        { "op": "add", "value": { "name.givenName": "Ada", "name": { "familyName": "Byron" }, "title": "Countess" } },
        { "op": "add", "path": "emails[type eq \"work\"].value", "value": "ada@example.com" },
    ]));
    let names = change.unwrap().names_after(&Names::default());
    assert_eq!(names.whole().as_deref(), Some("Ada Byron"));
    let renamed =
        patched(&json!([{ "op": "replace", "path": "name.familyName", "value": "Lovelace" }])).unwrap();
    assert_eq!(renamed.names_after(&names).whole().as_deref(), Some("Ada Lovelace"));
    let shown = patched(&json!([{ "op": "add", "path": "displayName", "value": "A. Lovelace" }])).unwrap();
    let shown = shown.names_after(&names);
    assert_eq!(shown.whole().as_deref(), Some("A. Lovelace"));
    let hidden =
        patched(&json!([{ "op": "remove", "path": "displayName" }, { "op": "remove", "path": "name" }]));
    assert_eq!(hidden.unwrap().names_after(&shown).whole(), None);
}

#[test]
fn a_whole_user_says_what_it_says_and_no_more() {
    let body = json!({ "schemas": [USER_SCHEMA], "USERNAME": "ada@example.com", "externalId": "42", "id": "ignored" });
    let user = UserChange::of_resource(&body).unwrap();
    assert_eq!(user.user_name.as_deref(), Some("ada@example.com"));
    assert_eq!(
        (user.external_id, user.active),
        (Said::Value(Some("42".into())), None),
        "nobody is let in or out by silence"
    );
}

#[test]
fn what_cannot_be_done_is_named_in_the_words_of_the_standard() {
    for (list, expected) in [
        (json!("x"), "invalidSyntax"),
        (json!(["x"]), "invalidSyntax"),
        (json!([{ "path": "active" }]), "invalidSyntax"),
        (json!([{ "op": "move", "path": "active" }]), "invalidSyntax"),
        (json!([{ "op": "replace", "value": false }]), "noTarget"),
        (json!([{ "op": "remove" }]), "noTarget"),
        (json!([{ "op": "remove", "value": {} }]), "noTarget"),
        (json!([{ "op": "remove", "path": "active" }]), "mutability"),
        (json!([{ "op": "remove", "path": "userName" }]), "mutability"),
        (json!([{ "op": "replace", "path": "active", "value": "perhaps" }]), "invalidValue"),
        (json!([{ "op": "replace", "path": "active" }]), "invalidValue"),
        (json!([{ "op": "replace", "path": "userName", "value": "" }]), "invalidValue"),
        (json!([{ "op": "replace", "path": "displayName", "value": ["a"] }]), "invalidValue"),
        (json!([{ "op": "replace", "path": "displayName", "value": "a\u{0}b" }]), "invalidValue"),
        (json!([{ "op": "remove", "path": "members[value eq \"x" }]), "invalidPath"),
        (json!([{ "op": "remove", "path": "members[value co \"x\"]" }]), "invalidPath"),
    ] {
        assert_eq!(code(patched(&list)), expected, "{list}");
    }
    assert_eq!(code(UserChange::of_resource(&json!({ "active": true }))), "invalidValue");
    assert_eq!(code(UserChange::of_resource(&json!([]))), "invalidSyntax");
    let many: Vec<_> = (0..=MOST_OPERATIONS).map(|_| json!({ "op": "remove", "path": "title" })).collect();
    assert_eq!(code(patched(&json!(many))), "tooMany");
}

#[test]
fn groups_change_as_okta_and_entra_id_say_it() {
    let [ada, bob] = [1, 2].map(|n| format!("usr_{n:0>32}"));
    let id = |text: &str| text.parse::<UserId>().unwrap();
    let group = |list: serde_json::Value| {
        GroupChange::of_operations(&operations(&json!({ "Operations": list })).unwrap())
            .map(|change| change.members)
    };
    for (operation, expected) in [
        (
            json!({ "op": "add", "path": "members", "value": [{ "value": ada }, { "value": bob }] }),
            MemberEdit::Add(vec![id(&ada), id(&bob)]),
        ),
        (
            json!({ "op": "Add", "path": "members", "value": { "value": ada } }),
            MemberEdit::Add(vec![id(&ada)]),
        ),
        (
            json!({ "op": "remove", "path": format!("members[value eq \"{bob}\"]") }),
            MemberEdit::Remove(vec![id(&bob)]),
        ),
        (
            json!({ "op": "Remove", "path": "members", "value": [{ "value": bob }] }),
            MemberEdit::Remove(vec![id(&bob)]),
        ),
        (json!({ "op": "remove", "path": "members" }), MemberEdit::Set(vec![])),
        (
            json!({ "op": "replace", "path": "members", "value": [{ "value": ada }] }),
            MemberEdit::Set(vec![id(&ada)]),
        ),
        (json!({ "op": "replace", "value": { "members": [] } }), MemberEdit::Set(vec![])),
    ] {
        assert_eq!(group(json!([operation])).ok(), Some(vec![expected]), "{operation}");
    }
    assert_eq!(
        code(group(json!([{ "op": "add", "path": "members", "value": [{ "value": "everybody" }] }]))),
        "invalidValue"
    );
    assert_eq!(code(group(json!([{ "op": "remove", "path": "displayName" }]))), "mutability");
    let whole = GroupChange::of_resource(&json!({ "displayName": "Ops" })).unwrap();
    assert_eq!(whole.members, [MemberEdit::Set(vec![])], "a whole group without members has none");
    assert_eq!(code(GroupChange::of_resource(&json!({ "members": [] }))), "invalidValue");
}

#[test]
fn an_answer_holds_what_is_asked_for_and_always_who_it_is() {
    let whole = json!({
        "schemas": [USER_SCHEMA], "id": "usr_1", "userName": "ada@example.com", "active": true,
        "name": { "givenName": "Ada", "familyName": "Lovelace" },
        "emails": [{ "value": "ada@example.com", "type": "work" }],
    });
    let of = |attributes: Option<&str>, excluded: Option<&str>| {
        let mut resource = whole.clone();
        Selection::read(attributes, excluded).unwrap().apply(&mut resource);
        resource
    };
    let id = json!({ "schemas": [USER_SCHEMA], "id": "usr_1" });
    let with = |more: Value| {
        let mut resource = id.clone();
        resource.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        resource
    };
    assert_eq!(of(None, None), whole);
    for (asked, expected) in [
        ("USERNAME", json!({ "userName": "ada@example.com" })),
        ("userName, active", json!({ "userName": "ada@example.com", "active": true })),
        ("urn:ietf:params:scim:schemas:core:2.0:User:active", json!({ "active": true })),
        ("name.givenName", json!({ "name": { "givenName": "Ada" } })),
        ("emails.type", json!({ "emails": [{ "type": "work" }] })),
        ("password", json!({})),
        ("name.title", json!({})),
        ("", json!({})),
    ] {
        assert_eq!(of(Some(asked), None), with(expected), "{asked}");
    }
    assert_eq!(of(None, Some("id,schemas,name,emails,active,userName")), id);
    let without = of(None, Some("name.familyName,emails.value,active"));
    let expected = json!({ "userName": "ada@example.com", "name": { "givenName": "Ada" }, "emails": [{ "type": "work" }] });
    assert_eq!(without, with(expected));
    assert_eq!(code(Selection::read(Some("id"), Some("name"))), "invalidValue");
    for (attributes, excluded, asks) in [
        (None, None, true),
        (Some("members"), None, true),
        (Some("displayName, Members.value"), None, true),
        (Some("displayName,membership"), None, false),
        (None, Some("MEMBERS"), false),
        (None, Some("members.value,externalId"), true),
    ] {
        let selection = Selection::read(attributes, excluded).unwrap();
        assert_eq!(selection.asks_for("members"), asks, "{attributes:?} {excluded:?}");
        assert_eq!(selection.is_said(), attributes.or(excluded).is_some());
    }
}
