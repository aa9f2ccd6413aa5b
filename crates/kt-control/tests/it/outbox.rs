//! Mail as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kt_control::mail::{Mailer, Outbox};

use crate::support::letter;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn each_letter_is_a_file_for_its_owner_alone_and_another_attempt_is_the_same_file() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data/outbox");
    let outbox = Outbox::open(folder.clone()).unwrap();
    let mut later = letter("bob@example.net");
    later.date = "2026-03-05T14:02:31.3Z".parse().unwrap();
    for letter in [&later, &letter("ada@example.net"), &letter("ada@example.net")] {
        outbox.send(letter).await.unwrap();
    }
    let expected = ["20260305T140231250000Z", "20260305T140231300000Z"]
        .map(|date| format!("{date}-00000000000000000000000000000007.eml"));
    assert_eq!(names(&folder), expected);
    assert_eq!(mode(&folder), 0o700);
    let file = folder.join(&expected[0]);
    assert_eq!(mode(&file), 0o600);
    let mail = fs::read_to_string(file).unwrap();
    assert!(mail.contains("\r\nTo: ada@example.net\r\n"), "{mail}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_a_failure_to_be_tried_again_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("outbox");
    let outbox = Outbox::open(folder.clone()).unwrap();
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let error = outbox.send(&letter("ada@example.net")).await.unwrap_err();
    assert!(!error.is_permanent());
    assert!(error.to_string().contains("look at the disk"), "{error}");

    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    outbox.send(&letter("ada@example.net")).await.unwrap();
    assert_eq!(names(&folder).len(), 1);
}
