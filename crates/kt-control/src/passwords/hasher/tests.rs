use std::num::NonZeroUsize;

use kt_domain::passwords::Context;

use super::*;

fn cheap() -> Hasher {
    Hasher::new(&Cost::for_tests(), Capacity::default()).unwrap()
}

fn nobody() -> Asker {
    Asker::stranger(None)
}

fn password(typed: &str) -> Password {
    Password::new(typed).unwrap()
}

async fn hash(hasher: &Hasher, typed: &str) -> Phc {
    hasher.hash(&nobody(), &password(typed)).await.unwrap()
}

async fn verify(hasher: &Hasher, typed: &str, stored: &Phc) -> bool {
    hasher.verify(&nobody(), &password(typed), Some(stored)).await.unwrap()
}

#[tokio::test]
async fn the_password_is_accepted_and_its_neighbours_are_not() {
    let hasher = cheap();
    for typed in ["vexing otter", "", "\u{1F98A}\u{1F34B}", "nul\0inside", &"x".repeat(256)] {
        let stored = Phc::parse(&hash(&hasher, typed).await.to_stored()).unwrap();
        assert!(verify(&hasher, typed, &stored).await, "{typed:?}");
        for other in [" vexing otter", "vexing otter ", "Vexing otter", "nul", "\u{1F98A}"] {
            assert!(!verify(&hasher, other, &stored).await, "{other:?} for {typed:?}");
        }
    }
}

#[tokio::test]
async fn composed_and_decomposed_letters_are_one_password() {
    let hasher = cheap();
    let (composed, decomposed) = ("caf\u{e9} au lait", "cafe\u{301} au lait");
    for (set, typed) in [(composed, decomposed), (decomposed, composed)] {
        let stored = hash(&hasher, set).await;
        assert!(verify(&hasher, typed, &stored).await);
        assert!(!verify(&hasher, "cafe au lait", &stored).await);
    }
}

#[tokio::test]
async fn every_character_of_a_long_password_counts() {
    let hasher = cheap();
    let long: String = ('a'..='z').cycle().take(256).collect();
    let stored = hash(&hasher, &long).await;
    assert!(verify(&hasher, &long, &stored).await);
    for length in [8, 55, 64, 72, 128, 255] {
        assert!(!verify(&hasher, &long[..length], &stored).await, "the first {length}");
    }
}

#[tokio::test]
async fn hashes_are_salted_and_say_how_they_were_made() {
    let hasher = Hasher::new(&Cost::default(), Capacity::default()).unwrap();
    let one = hash(&hasher, "vexing otter").await;
    assert!(one.to_stored().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", one.to_stored());
    assert_eq!(one.0.salt.unwrap().len(), 16);

    let hasher = cheap();
    let (one, other) = (hash(&hasher, "vexing otter").await, hash(&hasher, "vexing otter").await);
    assert_ne!(one.to_stored(), other.to_stored());
}

#[tokio::test]
async fn an_unknown_account_is_refused_by_the_same_work_as_a_known_one() {
    for cost in [Cost::for_tests(), Cost::default()] {
        let hasher = Hasher::new(&cost, Capacity::default()).unwrap();
        let stored = hash(&hasher, "vexing otter").await;
        let (known, unknown) = (hasher.target(Some(&stored)), hasher.target(None));
        assert_eq!(unknown.0.algorithm, known.0.algorithm);
        assert_eq!(unknown.0.version, known.0.version);
        assert_eq!(unknown.0.params, known.0.params);
        assert_eq!(unknown.0.salt.unwrap().len(), known.0.salt.unwrap().len());
        assert_eq!(unknown.0.hash.unwrap().len(), known.0.hash.unwrap().len());
        assert!(!hasher.verify(&nobody(), &password("vexing otter"), None).await.unwrap());
    }
}

#[tokio::test]
async fn a_hash_of_another_cost_is_still_checked_and_asks_to_be_replaced() {
    let (cheap, dear) = (cheap(), Hasher::new(&Cost::default(), Capacity::default()).unwrap());
    let stored = hash(&cheap, "vexing otter").await;
    assert!(verify(&dear, "vexing otter", &stored).await);
    assert!(dear.needs_rehash(&stored));

    let replaced = hash(&dear, "vexing otter").await;
    assert!(!dear.needs_rehash(&replaced));
    assert!(!dear.needs_rehash(&Phc::parse(&replaced.to_stored()).unwrap()));
}

#[tokio::test]
async fn only_whole_hashes_by_argon2id_are_read() {
    let stored = hash(&cheap(), "vexing otter").await.to_stored();
    assert!(Phc::parse(&stored).is_ok());
    let (without_hash, _) = stored.rsplit_once('$').unwrap();
    let damaged = [
        String::new(),
        "vexing otter".to_owned(),
        without_hash.to_owned(),
        stored.replace("argon2id", "argon2i"),
        stored.replace("argon2id", "scrypt"),
        stored.replace("v=19", "v=16"),
        stored.replace("m=8", "m=0"),
    ];
    for text in damaged {
        assert_eq!(Phc::parse(&text).err(), Some(NotAHash), "{text}");
    }
}

#[tokio::test]
async fn a_password_is_examined_in_the_same_queue() {
    let hasher = cheap();
    let examine = async |typed: &str| {
        let typed = password(typed);
        hasher
            .examine(&nobody(), move || kt_domain::passwords::strength(&typed, &Context::default()).score)
            .await
    };
    assert_eq!(examine("password").await.unwrap(), 0);
    assert_eq!(examine("vexing-otter-plumbs-azure").await.unwrap(), 4);
}

/// With one slot and no place to wait, a second caller is told so instead of being kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_is_answered_in_part_and_the_rest_is_told_to_come_again() {
    let capacity = Capacity { running: NonZeroUsize::MIN, waiting: 1 };
    let hasher = std::sync::Arc::new(Hasher::new(&Cost::default(), capacity).unwrap());
    let tasks: Vec<_> = (0..200_u8)
        .map(|n| {
            let hasher = std::sync::Arc::clone(&hasher);
            let asker = Asker::stranger(Some([203, 0, n, 9].into()));
            tokio::spawn(async move { hasher.verify(&asker, &password("vexing otter"), None).await })
        })
        .collect();
    let (mut answered, mut overloaded) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(is_right) => {
                assert!(!is_right);
                answered += 1;
            }
            Err(HashError::Overloaded) => overloaded += 1,
            Err(HashError::Failed(reason)) => panic!("{reason}"),
        }
    }
    assert!(answered >= 2, "{answered}");
    assert_eq!(answered + overloaded, 200);
    assert!(!hasher.verify(&nobody(), &password("vexing otter"), None).await.unwrap(), "it works again");
}
