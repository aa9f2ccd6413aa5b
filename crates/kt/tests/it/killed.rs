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
        match &self.0 {
            None => home.start(),
            Some(schema) => home.start_on(&schema.url()),
        }
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

/// Which clients were told that it was done.
type Done = Vec<usize>;

/// Lets all clients ask, kills the process meanwhile, and lets them ask the next one. `request` tells what a client asks.
fn use_while_killed(
    database: &Database,
    plane: Plane,
    moment: Duration,
    request: &(dyn Fn(usize) -> (&'static str, Value) + Sync),
) -> (Plane, Done) {
    let done = Mutex::new(Done::new());
    let answered = AtomicBool::new(false);
    let ask = |plane: &Plane, client: usize| {
        let (what, body) = request(client);
        let answer = plane.try_ask(what, "", &body.to_string());
        if let Some((status, _)) = &answer {
            if [200, 202].contains(status) {
                done.lock().unwrap().push(client);
            }
            answered.store(true, Ordering::SeqCst);
        }
        answer.is_some()
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (ask, plane) = (&ask, &plane);
            scope.spawn(move || while ask(plane, client) {});
        }
        let until = Instant::now() + moment;
        wait_for("the moment to kill", || {
            (answered.load(Ordering::SeqCst) || Instant::now() > until).then_some(())
        });
        plane.kill();
    });
    let plane = database.start(plane.ended().0);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (ask, plane) = (&ask, &plane);
            scope.spawn(move || assert!(ask(plane, client), "it answers again"));
        }
    });
    (plane, done.into_inner().unwrap())
}

/// Exactly one of the passwords that the clients chose opens the account, and it is the one that was answered as set.
fn one_password_holds(plane: &Plane, email: &str, done: &Done) {
    assert!(done.len() <= 1, "{done:?} were told that it was done");
    let opens = |client: &usize| {
        let body = json!({ "email": email, "password": password(*client) }).to_string();
        plane.ask("POST /v1/auth/login", "", &body)["status"] == "authenticated"
    };
    let holding: Vec<usize> = (0..CLIENTS).filter(opens).collect();
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
            ("POST /v1/auth/password/reset", body)
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
            ("POST /v1/auth/register", body)
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
        let request = |_| ("POST /v1/auth/refresh", json!({ "refresh_token": session["refresh_token"] }));
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
            ("POST /v1/auth/password/replace", body)
        };
        let (plane, done) = use_while_killed(database, plane, moment, &request);
        one_password_holds(&plane, JO, &done);
    });
}
