//! An authenticator app: the secret that it shares with us, how it is handed over, and which code it shows when
//! (RFC 6238 with SHA-1, 6 digits and 30 seconds, the one setting that every app keeps to).

use jiff::Timestamp;
use kt_domain::error::Error;
use kt_domain::random::Random;
use qrcode::QrCode;
use qrcode::render::svg;
use secrecy::zeroize::Zeroizing;
use totp_rs::{Builder, Totp};
use url::Url;

/// How long a code is shown, in seconds.
const PERIOD: i64 = 30;

/// How many bytes the secret has: 160 bits (RFC 4226 section 4, requirement 6).
const LENGTH: usize = 20;

/// Who the app says that the codes are for.
const ISSUER: &str = "Keeptrusts";

/// The shared secret of an app.
pub(crate) struct Authenticator(Zeroizing<[u8; LENGTH]>);

impl Authenticator {
    /// Draws a new one.
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self(Zeroizing::new(random.bytes()))
    }

    /// The one that is kept as these bytes.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let bytes = Zeroizing::new(bytes);
        let secret =
            bytes.as_slice().try_into().map_err(|_| Error::internal("a TOTP secret of another length"))?;
        Ok(Self(Zeroizing::new(secret)))
    }

    /// What is kept of it, sealed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The secret to type into an app: base 32.
    pub(crate) fn text(&self) -> String {
        self.totp().secret().to_base32()
    }

    /// The secret as apps read it from a QR code. All settings are named, also where they are what is usual.
    pub(crate) fn uri(&self, account: &str) -> Result<String, Error> {
        let mut uri = Url::parse("otpauth://totp/").map_err(Error::internal)?;
        uri.set_path(&format!("{ISSUER}:{account}"));
        uri.query_pairs_mut()
            .append_pair("secret", &self.text())
            .append_pair("issuer", ISSUER)
            .append_pair("algorithm", "SHA1")
            .append_pair("digits", "6")
            .append_pair("period", &PERIOD.to_string());
        Ok(uri.into())
    }

    /// The time step whose code this is: the present one or the one before. Spaces in it are forgiven.
    pub(crate) fn matched_step(&self, code: &str, now: Timestamp) -> Option<i64> {
        let code: String = code.chars().filter(|sign| !sign.is_whitespace()).collect();
        let present = now.as_second().div_euclid(PERIOD);
        [present, present - 1].into_iter().find(|step| {
            let begins = u64::try_from(step * PERIOD).unwrap_or_default();
            self.totp().check(&code, begins).is_some()
        })
    }

    fn totp(&self) -> Totp {
        // Exactly one step is compared at a time: `skew` would accept the one to come as well.
        Builder::new().with_skew(0).with_secret(*self.0).build_noncompliant()
    }
}

/// A picture of `text` for a camera: an SVG element that stands by itself.
pub(crate) fn qr_code(text: &str) -> Result<String, Error> {
    let code = QrCode::new(text).map_err(Error::internal)?;
    let drawn = code.render::<svg::Color<'_>>().min_dimensions(240, 240).build();
    // What comes before it is for files alone.
    let start = drawn.find("<svg").ok_or_else(|| Error::internal("a QR code without its picture"))?;
    Ok(drawn[start..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238 appendix B.
    fn authenticator() -> Authenticator {
        Authenticator::from_bytes(b"12345678901234567890".to_vec()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238_appendix_b() {
        // The last six of the eight digits there.
        let table = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (second, code) in table {
            assert_eq!(authenticator().matched_step(code, at(second)), Some(second / 30), "{second}");
            let spaced = format!(" {} {}", &code[..3], &code[3..]);
            assert_eq!(authenticator().matched_step(&spaced, at(second)), Some(second / 30), "{spaced}");
        }
    }

    #[test]
    fn a_code_is_good_in_its_step_and_in_the_next_and_at_no_other_time() {
        let step = 1_111_111_109 / 30;
        let begins = step * 30;
        let good = |second| authenticator().matched_step("081804", at(second));
        assert_eq!(good(begins - 1), None, "the code of the step to come");
        assert_eq!(good(begins), Some(step));
        assert_eq!(good(begins + 59), Some(step), "the code of the step before");
        assert_eq!(good(begins + 60), None);
    }

    #[test]
    fn what_is_no_code_is_none() {
        for wrong in ["", "28708", "2870820", "28708a", "２８７０８２", "-287082", "+28708", "287082\u{0}"]
        {
            assert_eq!(authenticator().matched_step(wrong, at(59)), None, "{wrong:?}");
        }
        assert!(Authenticator::from_bytes(vec![0; 10]).is_err(), "80 bits");
    }

    #[test]
    fn an_app_reads_the_secret_and_all_settings_from_the_uri() {
        let uri = authenticator().uri("ada+ops@example.org").unwrap();
        let expected = "otpauth://totp/Keeptrusts:ada+ops@example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
                        &issuer=Keeptrusts&algorithm=SHA1&digits=6&period=30";
        assert_eq!(uri, expected);
        let picture = qr_code(&uri).unwrap();
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        assert!(
            !picture.contains("style") && !picture.contains("script"),
            "nothing that a strict page refuses"
        );
    }
}
