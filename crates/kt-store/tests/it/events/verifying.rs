//! Every way to tamper with a log is found and named; the untouched log verifies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kt_domain::clock::Clock;
use kt_domain::events::{Entry, Hash, Head, Kind, PublicKey, Record};
use kt_store::CheckpointKey;
use kt_store::event_log::{
    Beginning, EventWriter, Expectations, Expected, Options, Tampering, Verification, verify,
};
use serde_json::Value;

use crate::support::{clock, event, lines, options, record, segments};

/// Entries: 1 segment, 2 checkpoint, 3 to 12 events with a checkpoint after every five entries, a checkpoint at the end.
struct Tampered {
    directory: tempfile::TempDir,
    lines: Vec<String>,
}

impl Tampered {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            checkpoint_entries: 5,
            anchor_file: Some(directory.path().join("anchor")),
            ..options()
        };
        let writer = EventWriter::open(&directory.path().join("events"), &options).unwrap();
        for n in 0..10 {
            record(&writer, &event(&format!("evt_{n}"))).unwrap();
        }
        drop(writer);
        let lines = lines(&directory.path().join("events"));
        Self { directory, lines }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("export.jsonl")
    }

    fn verify(&self, expectations: &Expectations) -> Verification {
        fs::write(self.file(), self.lines.concat()).unwrap();
        check(&self.file(), expectations)
    }

    fn anchor(&self) -> Expectations {
        let anchor = Expected::from_anchor(&self.directory.path().join("anchor")).unwrap();
        Expectations { public_key: Some(self.key()), entries: vec![anchor] }
    }

    fn key(&self) -> PublicKey {
        fs::read_to_string(self.directory.path().join("events/signing.pub")).unwrap().trim().parse().unwrap()
    }

    /// The line of entry `seq`.
    fn line(&mut self, seq: usize) -> &mut String {
        &mut self.lines[seq - 1]
    }

    /// Gives the lines from entry `from` on the numbers that their places have.
    fn renumber(&mut self, from: usize) {
        for (seq, line) in self.lines.iter_mut().enumerate().skip(from - 1) {
            let end = line.rfind(",\"seq\":").unwrap();
            line.replace_range(end.., &format!(",\"seq\":{}}}\n", seq + 1));
        }
    }

    /// Computes the hashes from entry `from` to entry `to` anew, as somebody who knows the format would.
    fn rehash(&mut self, from: usize, to: usize) {
        let hash =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["hash"].as_str().unwrap().to_owned();
        for seq in from..=to {
            let before = Head { seq: seq as u64 - 1, hash: hash(self.line(seq - 1)).parse().unwrap() };
            let line = self.line(seq);
            let record = kt_domain::events::Record::from_written(line.as_bytes()).unwrap();
            let new = before.would_hash(seq as u64, &record);
            *line = line.replace(&hash(line), &new.to_string());
        }
    }

    /// The number and the hash of entry `seq`.
    fn head(&mut self, seq: usize) -> Head {
        Record::from_written(self.line(seq).as_bytes()).unwrap().head()
    }

    /// Computes all hashes and signatures from entry `from` on anew, as somebody who has the key would.
    fn sign_anew(&mut self, from: usize) {
        let key = fs::read(self.directory.path().join("events/signing.key")).unwrap();
        let key = CheckpointKey::from_pkcs8(&key).unwrap();
        for seq in from..=self.lines.len() {
            let mut before = self.head(seq - 1);
            if Record::from_written(self.line(seq).as_bytes()).unwrap().kind != Kind::Checkpoint {
                self.rehash(seq, seq);
                continue;
            }
            let checkpoint = key.checkpoint("gw_test".into(), before, clock().now());
            let mut line = Vec::new();
            before.append(&Entry::Checkpoint(&checkpoint), &mut line).unwrap();
            *self.line(seq) = String::from_utf8(line).unwrap();
        }
    }
}

fn check(path: &Path, expectations: &Expectations) -> Verification {
    verify(&[path.to_owned()], expectations, &mut |_| {}).unwrap()
}

#[track_caller]
fn assert_found(verification: &Verification, kind: Tampering, seq: u64) {
    assert!(!verification.valid);
    let problem = verification.problem.as_ref().unwrap();
    assert_eq!((problem.kind, problem.seq), (kind, seq), "{problem}");
}

#[test]
fn an_untouched_log_verifies_in_every_spelling() {
    let mut log = Tampered::new();
    let entries = log.lines.len() as u64;
    for expectations in [Expectations::default(), log.anchor()] {
        for path in [log.directory.path().join("events"), log.file()] {
            fs::write(log.file(), log.lines.concat()).unwrap();
            let found = check(&path, &expectations);
            assert!(found.valid, "{:?}", found.problem);
            assert_eq!((found.events, found.first_seq, found.last_seq), (10, 1, entries));
            assert_eq!(found.unproven(), 0);
            assert_eq!(found.beginning, Beginning::Whole);
            assert_eq!(found.gateway_id.as_deref(), Some("gw_test"));
        }
    }
    for line in &mut log.lines {
        let value: Value = serde_json::from_str(line).unwrap();
        *line = format!("\n{}\n", serde_json::to_string_pretty(&value).unwrap());
    }
    let found = log.verify(&log.anchor());
    assert!(found.valid, "{:?}", found.problem);
    assert_eq!(found.events, 10);
}

#[test]
fn an_edited_entry_is_named_whichever_it_is() {
    for seq in 1..=Tampered::new().lines.len() {
        let mut log = Tampered::new();
        let edited = log.line(seq).replace("2026-", "2025-");
        *log.line(seq) = edited;
        assert_found(&log.verify(&Expectations::default()), Tampering::Edited, seq as u64);
    }
}

#[test]
fn a_removed_entry_is_named_whichever_it_is() {
    let count = Tampered::new().lines.len();
    for seq in 2..count {
        let mut log = Tampered::new();
        log.lines.remove(seq - 1);
        assert_found(&log.verify(&Expectations::default()), Tampering::Removed, seq as u64);
        log.renumber(seq);
        let found = log.verify(&Expectations::default());
        // Behind the last but one, nothing is left that could tell the two apart.
        let kind = if seq + 1 < count { Tampering::Removed } else { Tampering::Edited };
        assert_found(&found, kind, seq as u64);
    }
    let mut log = Tampered::new();
    log.lines.remove(0);
    assert!(!log.verify(&Expectations::default()).valid);
}

#[test]
fn an_inserted_entry_is_named() {
    for place in 4..8 {
        // A copy, a copy with a fitting number, and one with a hash that fits as well.
        let mut log = Tampered::new();
        let copy = log.line(3).clone();
        log.lines.insert(place - 1, copy);
        assert_found(&log.verify(&Expectations::default()), Tampering::Inserted, place as u64);
        log.renumber(place);
        assert_found(&log.verify(&Expectations::default()), Tampering::Inserted, place as u64);
        log.rehash(place, place);
        assert!(!log.verify(&Expectations::default()).valid);
    }
}

#[test]
fn swapped_entries_are_named() {
    for seq in 3..9 {
        let mut log = Tampered::new();
        log.lines.swap(seq - 1, seq);
        assert_found(&log.verify(&Expectations::default()), Tampering::Swapped, seq as u64);
        log.renumber(seq);
        assert_found(&log.verify(&Expectations::default()), Tampering::Swapped, seq as u64);
    }
}

#[test]
fn a_chain_that_was_computed_anew_lacks_the_signature() {
    let mut log = Tampered::new();
    let count = log.lines.len();
    let edited = log.line(4).replace("evt_1", "evt_x");
    *log.line(4) = edited;
    log.rehash(4, count);
    // The first entry behind the checkpoint in entry 2.
    assert_found(&log.verify(&Expectations::default()), Tampering::Edited, 3);

    let mut unsigned = Tampered::new();
    unsigned.lines.retain(|line| !line.starts_with("{\"checkpoint\""));
    let count = unsigned.lines.len();
    unsigned.renumber(1);
    unsigned.rehash(2, count);
    assert_found(&unsigned.verify(&Expectations::default()), Tampering::Forged, 1);
}

#[test]
fn a_log_under_another_key_is_a_forgery() {
    let log = Tampered::new();
    let forged = Tampered::new();
    let expectations = Expectations { public_key: Some(log.key()), entries: Vec::new() };
    assert_found(&forged.verify(&expectations), Tampering::Forged, 1);
    assert!(log.verify(&expectations).valid);
}

#[test]
fn a_cut_tail_is_found_with_an_anchor() {
    for keep in 2..Tampered::new().lines.len() - 1 {
        let mut log = Tampered::new();
        log.lines.truncate(keep);
        assert!(log.verify(&Expectations::default()).valid, "nothing in the file itself can tell");
        let found = log.verify(&log.anchor());
        assert_found(&found, Tampering::Cut, keep as u64 + 1);
    }
    let mut torn = Tampered::new();
    torn.lines.last_mut().unwrap().truncate(30);
    assert_found(&torn.verify(&Expectations::default()), Tampering::Cut, torn.lines.len() as u64);
}

#[test]
fn a_restored_old_log_is_found_also_after_it_was_written_on() {
    let log = Tampered::new();
    let events = log.directory.path().join("events");
    let segment = segments(&events).remove(0);
    fs::write(&segment, log.lines[..6].concat()).unwrap();
    assert_found(&check(&events, &log.anchor()), Tampering::Cut, 7);

    let anchored = Options { anchor_file: Some(log.directory.path().join("anchor")), ..options() };
    let refused = EventWriter::open(&events, &anchored).err().unwrap().to_string();
    assert!(refused.contains("set back or cut"), "{refused}");

    let writer = EventWriter::open(&events, &options()).unwrap();
    for n in 0..20 {
        record(&writer, &event(&format!("evt_new_{n}"))).unwrap();
    }
    drop(writer);
    assert!(check(&events, &Expectations::default()).valid, "nothing in the log itself can tell");
    let anchor = log.anchor();
    assert_found(&check(&events, &anchor), Tampering::SetBack, anchor.entries[0].seq);
    assert!(EventWriter::open(&events, &anchored).is_err());
}

#[test]
fn an_untouched_log_opens_with_its_anchor() {
    let log = Tampered::new();
    let anchored = Options { anchor_file: Some(log.directory.path().join("anchor")), ..options() };
    EventWriter::open(&log.directory.path().join("events"), &anchored).unwrap();
}

#[test]
fn an_expected_hash_does_as_well_as_an_anchor() {
    let log = Tampered::new();
    let record = kt_domain::events::Record::from_written(log.lines[6].as_bytes()).unwrap().head();
    let expect =
        |seq, hash| Expectations { public_key: None, entries: vec![Expected { seq, hash, anchor: None }] };
    assert!(log.verify(&expect(record.seq, record.hash)).valid);
    let other = Hash::genesis("", &PublicKey([0; 32]));
    assert_found(&log.verify(&expect(7, other)), Tampering::SetBack, 7);
    assert_found(&log.verify(&expect(7000, other)), Tampering::Cut, log.lines.len() as u64 + 1);
}

#[test]
fn what_no_signature_covers_is_counted_wherever_the_log_ceases_to_hold() {
    let log = Tampered::new();
    for seq in 1..=log.lines.len() as u64 {
        let other = Expected { seq, hash: Hash::genesis("", &PublicKey([0; 32])), anchor: None };
        let found = log.verify(&Expectations { public_key: None, entries: vec![other] });
        assert_found(&found, Tampering::SetBack, seq);
        assert!(found.unproven() <= 5, "before entry {seq}: {}", found.unproven());
    }
}

#[test]
fn a_log_that_was_signed_anew_with_its_own_key_is_found_by_what_is_kept_elsewhere_alone() {
    let mut log = Tampered::new();
    let kept = log.head(9);
    let expected = Expected { seq: kept.seq, hash: kept.hash, anchor: None };
    let elsewhere = Expectations { public_key: Some(log.key()), entries: vec![expected] };
    let key = Expectations { public_key: Some(log.key()), entries: Vec::new() };
    for expectations in [&log.anchor(), &elsewhere, &key] {
        assert!(log.verify(expectations).valid, "the control");
    }
    let edited = log.line(4).replace("evt_1", "evt_x");
    assert_ne!(&edited, log.line(4));
    *log.line(4) = edited;
    log.sign_anew(4);
    let found = log.verify(&key);
    assert!(found.valid, "nothing in the log itself can tell: {:?}", found.problem);
    let anchor = log.anchor();
    assert_found(&log.verify(&anchor), Tampering::SetBack, anchor.entries[0].seq);
    assert_found(&log.verify(&elsewhere), Tampering::SetBack, 9);
}

#[test]
fn segments_that_are_missing_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let clock = clock();
    let options = Options { clock: std::sync::Arc::new(clock.clone()), ..options() };
    let writer = EventWriter::open(directory.path(), &options).unwrap();
    for n in 0..4 {
        record(&writer, &event(&format!("evt_{n}"))).unwrap();
        clock.advance(Duration::from_hours(24));
    }
    drop(writer);
    let paths = segments(directory.path());
    assert_eq!(paths.len(), 4);
    assert!(check(directory.path(), &Expectations::default()).valid);
    let first_of = |n: usize| paths[n].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();

    let aside = directory.path().join("aside");
    for (missing, seq) in [(0, 1), (1, first_of(1)), (2, first_of(2))] {
        fs::rename(&paths[missing], &aside).unwrap();
        assert_found(&check(directory.path(), &Expectations::default()), Tampering::Removed, seq);
        fs::rename(&aside, &paths[missing]).unwrap();
    }
}

#[test]
fn a_log_that_begins_amid_a_segment_is_not_said_to_be_whole() {
    let log = Tampered::new();
    assert_eq!(log.verify(&Expectations::default()).beginning, Beginning::Whole, "the control");
    let rest = log.directory.path().join("rest.jsonl");
    fs::write(&rest, log.lines[3..].concat()).unwrap();
    let found = check(&rest, &Expectations::default());
    assert_found(&found, Tampering::Removed, 4);
    assert_eq!(found.beginning, Beginning::Excerpt);
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    assert!(verify(&[directory.path().to_owned()], &Expectations::default(), &mut |_| {}).is_err());
    let file = directory.path().join("x.jsonl");
    for (text, kind) in
        [("", Tampering::Removed), ("hello\n", Tampering::Unreadable), ("{}\n", Tampering::Unreadable)]
    {
        fs::write(&file, text).unwrap();
        assert_found(&check(&file, &Expectations::default()), kind, 1);
    }
    fs::write(&file, "{\"a\":\n".repeat(200_000)).unwrap();
    assert!(!check(&file, &Expectations::default()).valid);
}

#[test]
fn a_line_without_an_end_is_excused_only_at_the_end_of_the_newest_segment() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path();
    let clock = clock();
    let options = Options { clock: std::sync::Arc::new(clock.clone()), ..options() };
    let writer = EventWriter::open(log, &options).unwrap();
    for n in 0..2 {
        record(&writer, &event(&format!("evt_{n}"))).unwrap();
        clock.advance(Duration::from_hours(24));
    }
    drop(writer);
    let [older, newest] = <[PathBuf; 2]>::try_from(segments(log)).unwrap();
    let found_with = |path: &Path, text: &[u8]| {
        let whole = fs::read(path).unwrap();
        fs::write(path, text).unwrap();
        let found = check(log, &Expectations::default());
        fs::write(path, whole).unwrap();
        found
    };
    let behind = |path: &Path| [&fs::read(path).unwrap()[..], b"{\"event\":"].concat();
    // So long that the line's own entry, which follows it, is never looked at.
    let in_front_of_the_second = |path: &Path| {
        let text = fs::read(path).unwrap();
        let end_of_first = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (first, others) = text.split_at(end_of_first);
        [first, &vec![b'x'; 4 << 20], others].concat()
    };

    let newest_unfinished = found_with(&newest, &behind(&newest));
    assert!(newest_unfinished.valid && newest_unfinished.unfinished_line);
    assert_found(&found_with(&older, &behind(&older)), Tampering::Cut, 5);
    for (path, seq) in [(&older, 2), (&newest, 6)] {
        assert_found(&found_with(path, &in_front_of_the_second(path)), Tampering::Unreadable, seq);
    }
    assert!(check(log, &Expectations::default()).valid);
}
