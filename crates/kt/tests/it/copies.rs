//! `kt admin backup|restore`: what is kept, and what is refused before anything is touched.

use std::os::unix::fs::PermissionsExt;

use crate::admin::admin;
use crate::plane::{EMAIL, Home, PASSWORD, Plane};
use crate::{complaint, said};

#[test]
fn a_copy_is_refused_while_its_key_is_not_in_place_and_every_database_that_is_replaced_is_kept() {
    let (home, _) = Plane::start().terminate();
    said(&admin(&home, &["backup", "copy.db"]), 0);
    said(&admin(&home, &["jwt", "rotate"]), 0);
    let (key, kept, database) =
        (home.path("data/secrets.key"), home.path("secrets.kept"), home.path("data/keeptrusts.db"));
    let original = std::fs::read(&database).unwrap();
    let restore = || admin(&home, &["restore", "copy.db", "--force"]);
    let replaced = |number: u32| home.path(&format!("data/keeptrusts.db.replaced-{number}"));

    std::fs::rename(&key, &kept).unwrap();
    let missing = restore();
    said(&missing, 1);
    assert!(complaint(&missing).contains("put it back from its copy"), "{}", complaint(&missing));
    assert!(!key.exists(), "none is made in its place");
    std::fs::write(&key, kt_control::SealKey::new_text(&mut kt_domain::random::Random::from_os())).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let other = restore();
    said(&other, 1);
    for words in ["nothing was changed", "secrets.key does not open it"] {
        assert!(complaint(&other).contains(words), "{}", complaint(&other));
    }
    assert_eq!(std::fs::read(&database).unwrap(), original);
    assert!(!replaced(1).exists());

    std::fs::rename(&kept, &key).unwrap();
    assert!(said(&restore(), 0).contains("keeptrusts.db.replaced-1"), "the control");
    assert!(said(&restore(), 0).contains("keeptrusts.db.replaced-2"));
    assert_eq!(std::fs::read(replaced(1)).unwrap(), original);
}

#[test]
fn a_data_directory_is_used_under_its_own_name_whatever_that_is() {
    for name in ["a%20b", "c?d #e"] {
        let home = Home::new();
        let listens = ["--api-listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"];
        let command = home.command(&[&["server", "run", "--data-dir", name], &listens[..]].concat());
        let owner = [("KEEPTRUSTS_BOOTSTRAP_EMAIL", EMAIL), ("KEEPTRUSTS_BOOTSTRAP_PASSWORD", PASSWORD)];
        let (home, status) = home.start_by(command, &owner).terminate();
        assert!(status.success(), "{name}");
        let database = home.path(name).join("keeptrusts.db");
        assert_eq!(database.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");

        let here = |arguments: &[&str]| home.kt(&[&["admin"], arguments, &["--data-dir", name]].concat());
        said(&here(&["backup", "copy.db"]), 0);
        let occupied = here(&["restore", "copy.db"]);
        said(&occupied, 1);
        assert!(complaint(&occupied).contains("--force"), "{name}: {}", complaint(&occupied));
        said(&here(&["restore", "copy.db", "--force"]), 0);
        let entries = std::fs::read_dir(home.path(".")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [name, "complaints", "copy.db"], "nothing lies elsewhere");
    }
}
