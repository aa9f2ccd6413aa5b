//! The keys for access tokens that the configuration names, read from their files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kt_control::ConfiguredJwtKey;
use kt_domain::deployment_config::{DeploymentConfig, JwtKeySection, JwtKeyState};

use crate::failure::Failure;

/// All of them; `None` where they live in the database.
pub(crate) fn jwt_keys(config: &DeploymentConfig) -> Result<Option<Vec<ConfiguredJwtKey>>, Failure> {
    let sections = &config.auth.jwt.keys;
    (!sections.is_empty()).then(|| sections.iter().map(jwt_key).collect()).transpose()
}

fn jwt_key(section: &JwtKeySection) -> Result<ConfiguredJwtKey, Failure> {
    let JwtKeySection { kid, private_key_file, public_key_file, state } = section;
    let (file, key) = match (private_key_file, public_key_file) {
        (Some(file), _) => {
            require_private(Path::new(file))?;
            let signs = *state == JwtKeyState::Signing;
            (file, ConfiguredJwtKey::from_private_pem(kid, &read(file)?, signs))
        }
        (None, Some(file)) => (file, ConfiguredJwtKey::from_public_pem(kid, &read(file)?)),
        (None, None) => return Err(Failure::invalid(format!("the key `{kid}` is in no file"))),
    };
    key.map_err(|why| Failure::invalid(format!("the key `{kid}` in {file} cannot be used: {why}")))
}

fn read(file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::invalid(format!("cannot read {file}: {error}")))
}

/// Refuses a key that others on the machine can read.
fn require_private(file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    let there = file.metadata().map_err(|error| Failure::invalid(format!("cannot read {shown}: {error}")))?;
    if there.permissions().mode() & 0o077 != 0 {
        let command = format!("chmod 600 {shown}");
        return Err(Failure::failed(format!(
            "others can read the key that signs access tokens: run `{command}`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("k1.pem");
        let section = JwtKeySection {
            kid: "k1".into(),
            private_key_file: Some(file.display().to_string()),
            public_key_file: None,
            state: JwtKeyState::Signing,
        };
        let told = || jwt_key(&section).err().map(|failure| failure.to_string()).unwrap_or_default();
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        assert!(told().contains("cannot read"), "{}", told());
        std::fs::write(&file, PRIVATE).unwrap();
        mode(0o640);
        assert!(told().contains("chmod 600"), "{}", told());
        mode(0o600);
        assert_eq!(told(), "", "the control");
        std::fs::write(&file, "no key").unwrap();
        assert!(told().contains("openssl genpkey"), "{}", told());
    }
}
