//! The page that says who may do what, made of the very tables that the tests hold the server to.

use std::fmt::Write;

use crate::authorization::{CALLERS, TABLE};
use crate::console::crawl::{PAGES, Shown};
use crate::reference::compare;

const BEGINNING: &str = "<!-- Made from the code; `KEEPTRUSTS_WRITE_REFERENCE=1 cargo test -p kt-server reference` writes it anew. -->

# Who may do what

What is not listed here is refused. The lists are those by which the tests call every route as every caller: one that is
missing, or that lets in somebody else, fails them. What a caller may reach is still bound to their own organization; of
anything elsewhere they are told that there is none. What is gravest asks for a fresh proof of identity besides, and nobody
changes somebody of a higher role.

A key never reaches further than the role of whoever made it; the columns show keys of an owner. Provisioning keys reach
`/scim/v2` alone, and no other key does.

## The API

| route | anybody | member | auditor | admin | owner | key, `read-only` | key, `write` | key, `admin` | gateway key | provisioning key |
|---|---|---|---|---|---|---|---|---|---|---|
";

const CONSOLE: &str = "
## The console

The parts of a page are shown, and its forms taken, by the same rules as at the API.

| page | shown to |
|---|---|
";

#[test]
fn the_reference_of_roles_and_routes_is_made_of_the_tables_of_the_tests() {
    let mut page = BEGINNING.to_owned();
    for (route, passes, _) in TABLE {
        let cells = CALLERS.chars().map(|caller| if passes.contains(caller) { " yes |" } else { " |" });
        writeln!(page, "| `{route}` |{}", cells.collect::<String>()).unwrap();
    }
    page.push_str(CONSOLE);
    for (path, shown) in PAGES {
        writeln!(page, "| `{path}` | {} |", to_whom(*shown)).unwrap();
    }
    compare("authorization.md", &page);
}

fn to_whom(shown: Shown) -> &'static str {
    match shown {
        Shown::ToAll => "everybody",
        Shown::ToStrangers => "whoever is not signed in",
        Shown::ToMembers => "whoever is signed in",
        Shown::ToUsers => "members, admins and owners",
        Shown::ToAuditors => "auditors, admins and owners",
        Shown::ToAdmins => "admins and owners",
        Shown::ToItsOwner => "auditors, admins and owners, and the key's owner",
        Shown::ToWhoeverBegan => "whoever of members, admins and owners has begun it",
        Shown::Elsewhere => "leads on, or belongs to what somebody has begun",
    }
}
