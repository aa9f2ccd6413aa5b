//! `kill -9` while several use one thing that works once: it works for one of them at most, and what was answered as done is
//! done. A few of them suffice: that one of a thousand succeeds is shown for each such thing by itself (`kt_server::it`), and
//! here it is the moment that matters. On PostgreSQL a transaction is another process's, and lives a little longer.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateway::wait_for;
use crate::plane::{EMAIL, Home, PASSWORD, Plane};
use crate::postgres::Schema;

const JO: &str = "jo@acme.example";

/// So many use one thing at once; fewer than the wrong passwords that lock an account.
const CLIENTS: usize = 6;

/// When the process is killed, unless something was answered before: at another moment of its work in each round.
const MOMENTS: [Duration; 4] =
    [Duration::from_mins(1), Duration::from_millis(5), Duration::from_millis(60), Duration::from_millis(150)];

/// What a control plane keeps everything in: a file of its own, or a schema of a server that outlives it.
struct Database(Option<Schema>);

impl Database {
    fn start(&self, home: Home) -> Plane {
        self.start_in(
            home,
            &[("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL), ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD)],
        )
    }

    /// The same, where nobody is made the first owner.
    fn start_without_owner(&self, home: Home) -> Plane {
        self.start_in(home, &[])
    }

    fn start_in(&self, home: Home, owner: &[(&str, &str)]) -> Plane {
        // Access tokens name who has issued them, and each process has a port of its own.
        let mut environment = vec![("KEEPTRUSTS_API__PUBLIC_URL", "http://localhost:8080")];
        let url = self.0.as_ref().map(Schema::url);
        environment.extend(url.as_deref().map(|url| ("KEEPTRUSTS_DATABASE__URL", url)));
        environment.extend_from_slice(owner);
        home.start_in(&environment)
    }
}

/// Does it once for each moment, on both databases.
fn at_each_moment(round: impl Fn(&Database, Duration)) {
    for moment in MOMENTS {
        for database in [Database(None), Database(Some(Schema::new()))] {
            round(&database, moment);
        }
    }
}

/// The password that a client chooses.
fn password(client: usize) -> String {
    format!("Tall-cedar-{client}{client}-river")
}

/// What a client asks.
struct Asked {
    what: String,
    credentials: String,
    body: Value,
}

impl Asked {
    fn by_a_stranger(what: &str, body: Value) -> Self {
        Self { what: what.to_owned(), credentials: String::new(), body }
    }
}

/// Tells what each client asks.
type Asking<'a> = &'a (dyn Fn(usize) -> Asked + Sync);

/// Which clients were told that it was done.
type Done = Vec<usize>;

/// Asks for one client; whether there was an answer.
fn ask(plane: &Plane, client: usize, asking: Asking<'_>, done: &Mutex<Done>) -> bool {
    let Asked { what, credentials, body } = asking(client);
    let answer = plane.try_ask(&what, &credentials, &body.to_string());
    if answer.as_ref().is_some_and(|(status, _)| (200..300).contains(status)) {
        done.lock().unwrap().push(client);
    }
    answer.is_some()
}

/// Lets all clients ask until the process is killed.
fn ask_until_killed(plane: Plane, moment: Duration, asking: Asking<'_>) -> (Home, Done) {
    let (done, answered) = (Mutex::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (plane, done, answered) = (&plane, &done, &answered);
            scope.spawn(move || {
                while ask(plane, client, asking, done) {
                    answered.store(true, Ordering::SeqCst);
                }
            });
        }
        let until = Instant::now() + moment;
        wait_for("the moment to kill", || {
            (answered.load(Ordering::SeqCst) || Instant::now() > until).then_some(())
        });
        plane.kill();
    });
    (plane.ended().0, done.into_inner().unwrap())
}

/// Lets all clients ask once.
fn ask_once(plane: &Plane, asking: Asking<'_>) -> Done {
    let done = Mutex::default();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let done = &done;
            scope.spawn(move || assert!(ask(plane, client, asking, done), "it answers"));
        }
    });
    done.into_inner().unwrap()
}

/// Lets all clients ask, kills the process meanwhile, and lets them ask the next one.
fn use_while_killed(
    database: &Database,
    plane: Plane,
    moment: Duration,
    asking: Asking<'_>,
) -> (Plane, Done) {
    let (home, mut done) = ask_until_killed(plane, moment, asking);
    let plane = database.start(home);
    done.extend(ask_once(&plane, asking));
    (plane, done)
}

/// The clients whose passwords open the account.
fn holders(plane: &Plane, email: &str) -> Vec<usize> {
    let opens = |client: &usize| {
        let body = json!({ "email": email, "password": password(*client) }).to_string();
        plane.ask("POST /v1/auth/login", "", &body)["status"] == "authenticated"
    };
    (0..CLIENTS).filter(opens).collect()
}

/// Exactly one of the passwords that the clients chose opens the account, and it is the one that was answered as set.
fn one_password_holds(plane: &Plane, email: &str, done: &Done) {
    assert!(done.len() <= 1, "{done:?} were told that it was done");
    let holding = holders(plane, email);
    assert_eq!(holding.len(), 1, "{holding:?}");
    assert!(done.is_empty() || *done == holding, "{done:?} was told that it was done, {holding:?} holds");
}

/// The token in the letter to this address, once it has been delivered to the outbox below the data directory.
pub(crate) fn token_in_letter(data: &Path, email: &str) -> String {
    wait_for("a letter with a link", || {
        let letters = fs::read_dir(data.join("outbox")).ok()?;
        letters.filter_map(|letter| fs::read_to_string(letter.ok()?.path()).ok()).find_map(|letter| {
            let letter = letter.contains(email).then(|| letter.replace("=\r\n", "").replace("=3D", "="))?;
            let (_, rest) = letter.split_once("?token=")?;
            Some(rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next()?.to_owned())
        })
    })
}

#[test]
fn a_reset_link_sets_one_password() {
    at_each_moment(|database, moment| {
        let plane = database.start(Home::new());
        plane.ask("POST /v1/auth/password/forgot", "", &json!({ "email": EMAIL }).to_string());
        let token = token_in_letter(&plane.home.path("data"), EMAIL);
        let request = |client| {
            let body = json!({ "token": token, "new_password": password(client) });
            Asked::by_a_stranger("POST /v1/auth/password/reset", body)
        };
        let (plane, done) = use_while_killed(database, plane, moment, &request);
        one_password_holds(&plane, EMAIL, &done);
        assert_eq!(plane.sign_in(PASSWORD), None, "the old one is over");
    });
}

#[test]
fn an_invitation_makes_one_account() {
    at_each_moment(|database, moment| {
        let plane = database.start(Home::new());
        let credentials = format!("Authorization: Bearer {}\r\n", plane.sign_in(PASSWORD).unwrap());
        let whoami = plane.ask("GET /v1/whoami", &credentials, "");
        let invited = json!({ "email": JO, "role": "member" }).to_string();
        plane.ask("POST /v1/invitations", &credentials, &invited);
        let token = token_in_letter(&plane.home.path("data"), JO);
        let request = |client| {
            let body = json!({
                "organization": whoami["organization"]["identifier"], "email": JO, "name": "Jo Member",
                "password": password(client), "invitation_token": token,
            });
            Asked::by_a_stranger("POST /v1/auth/register", body)
        };
        let (plane, done) = use_while_killed(database, plane, moment, &request);
        one_password_holds(&plane, JO, &done);
    });
}

#[test]
fn a_refresh_token_gives_one_pair_of_tokens() {
    at_each_moment(|database, moment| {
        let plane = database.start(Home::new());
        let body = json!({ "email": EMAIL, "password": PASSWORD }).to_string();
        let session = plane.ask("POST /v1/auth/login", "", &body);
        let body = json!({ "refresh_token": session["refresh_token"] });
        let request = |_| Asked::by_a_stranger("POST /v1/auth/refresh", body.clone());
        let (plane, done) = use_while_killed(database, plane, moment, &request);
        assert!(done.len() <= 1, "{done:?} were given tokens");
        let credentials = format!("Authorization: Bearer {}\r\n", session["access_token"].as_str().unwrap());
        let whoami = plane.ask("GET /v1/whoami", &credentials, "");
        assert_eq!(whoami["error"]["code"], "invalid_token", "the session ended when the token came again");
    });
}

#[test]
fn a_step_of_a_sign_in_sets_one_password() {
    at_each_moment(|database, moment| {
        let plane = database.start(Home::new());
        let credentials = format!("Authorization: Bearer {}\r\n", plane.sign_in(PASSWORD).unwrap());
        plane.ask(
            "POST /v1/invitations",
            &credentials,
            &json!({ "email": JO, "role": "member" }).to_string(),
        );
        let token = token_in_letter(&plane.home.path("data"), JO);
        let joining = json!({
            "organization": "default", "email": JO, "name": "Jo Member", "password": PASSWORD, "invitation_token": token,
        });
        let (status, joined) = plane.try_ask("POST /v1/auth/register", "", &joining.to_string()).unwrap();
        assert!([200, 202].contains(&status), "{joined}");
        let sign_in = |password: &str| {
            plane.ask("POST /v1/auth/login", "", &json!({ "email": JO, "password": password }).to_string())
        };
        let id = sign_in(PASSWORD)["user"]["id"].as_str().unwrap().to_owned();
        let path = format!("POST /v1/members/{id}/temporary-password");
        let temporary = plane.ask(&path, &credentials, "")["temporary_password"].as_str().unwrap().to_owned();
        let step = sign_in(&temporary)["flow_token"].clone();
        let request = |client| {
            let body = json!({ "flow_token": step, "new_password": password(client) });
            Asked::by_a_stranger("POST /v1/auth/password/replace", body)
        };
        let (plane, done) = use_while_killed(database, plane, moment, &request);
        one_password_holds(&plane, JO, &done);
    });
}

#[test]
fn a_set_up_link_makes_one_owner() {
    at_each_moment(|database, moment| {
        let mut plane = database.start_without_owner(Home::new());
        let asking = |token: String| {
            move |client| {
                let body = json!({
                    "token": token, "organization": "acme", "organization_name": "Acme", "email": EMAIL,
                    "name": "Olive Owner", "password": password(client),
                });
                Asked::by_a_stranger("POST /v1/setup", body)
            }
        };
        let first_link = asking(plane.set_up_token());
        let (home, mut done) = ask_until_killed(plane, moment, &first_link);
        let mut plane = database.start_without_owner(home);
        done.extend(ask_once(&plane, &first_link));
        // Where nothing was made, the start has printed another link, and the first is no good.
        if holders(&plane, EMAIL).is_empty() {
            let next_link = asking(plane.set_up_token());
            done.extend(ask_once(&plane, &next_link));
        }
        one_password_holds(&plane, EMAIL, &done);
    });
}

#[test]
fn a_key_is_rotated_once() {
    at_each_moment(|database, moment| {
        let plane = database.start(Home::new());
        let credentials = format!("Authorization: Bearer {}\r\n", plane.sign_in(PASSWORD).unwrap());
        let new = json!({ "type": "access", "name": "deploy", "scope": "read-only" }).to_string();
        let made = plane.ask("POST /v1/tokens", &credentials, &new);
        let what = format!("POST /v1/tokens/{}/rotate", made["id"].as_str().unwrap());
        let asking = |_| Asked { what: what.clone(), credentials: credentials.clone(), body: json!({}) };
        let (plane, done) = use_while_killed(database, plane, moment, &asking);
        assert!(done.len() <= 1, "{done:?} were given a key");
        let list = plane.ask("GET /v1/tokens", &credentials, "");
        let (old, new): (Vec<&Value>, Vec<&Value>) =
            list["tokens"].as_array().unwrap().iter().partition(|key| key["id"] == made["id"]);
        assert_eq!((old.len(), new.len()), (1, 1), "{list}");
        assert_eq!(old[0]["replaced_by"], new[0]["id"], "{list}");
    });
}
