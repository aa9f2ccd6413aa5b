//! What fuzzing begins with: genuine responses, kept with the certificate of the key that signed them. The key is not kept.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kt_saml::{Certificate, Expected, IdentityProvider, verify_response};

use crate::provider::{ACME, ALICE, DRAFT, ENTITY, REQUEST, Signs, now, us};

const SEEDS: [(&str, Signs); 2] = [("assertion.xml", Signs::Assertion), ("response.xml", Signs::Response)];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

#[test]
fn the_seeds_of_fuzzing_are_accepted() {
    let (certificate, seeds) = (fuzz().join("saml-certificate.pem"), fuzz().join("seeds/saml_response"));
    if std::env::var_os("KEEPTRUSTS_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(&seeds).unwrap();
        std::fs::write(&certificate, &ACME.certificate_pem).unwrap();
        for (name, signs) in SEEDS {
            std::fs::write(seeds.join(name), ACME.answer(DRAFT, signs)).unwrap();
        }
    }
    let certificate = Certificate::from_text(&std::fs::read_to_string(certificate).unwrap()).unwrap();
    let provider =
        IdentityProvider::new(ENTITY, "https://idp.example.com/sso", None, vec![certificate]).unwrap();
    let us = us();
    let expected = Expected {
        identity_provider: &provider,
        service_provider: &us,
        request: REQUEST,
        authenticated_since: None,
        now: now(),
    };
    for (name, _) in SEEDS {
        let text = std::fs::read(seeds.join(name)).unwrap();
        assert_eq!(
            verify_response(&STANDARD.encode(text), &expected).unwrap().subject.value,
            ALICE,
            "{name}"
        );
    }
}
