//! How this process sends mail, as its configuration says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kt_control::Post;
use kt_control::mail::{Mailer, Outbox, Renderer, Sender, Smtp, SmtpCredentials, SmtpSettings, SmtpTls};
use kt_domain::deployment_config::{DeploymentConfig, MailTransport, SmtpProtection, SmtpSection};

use crate::control_plane::console_url;
use crate::environment;
use crate::failure::Failure;

/// The sender of mail that stays in the outbox; nobody can answer to it (RFC 2606 section 2).
const SENDER: &str = "Keeptrusts <no-reply@keeptrusts.invalid>";

/// How long a mail server may take for one command.
const PATIENCE: Duration = Duration::from_secs(30);

/// What mail leaves by.
pub(crate) fn post(config: &DeploymentConfig, data_dir: &Path) -> Result<Post, Failure> {
    let home = console_url(config)?;
    let sender: Sender = config.mail.from.as_deref().unwrap_or(SENDER).parse().map_err(invalid)?;
    let mailer: Arc<dyn Mailer> = match config.mail.transport {
        MailTransport::Outbox => {
            let folder = data_dir.join("outbox");
            let shown = folder.display().to_string();
            let opened = Outbox::open(folder);
            Arc::new(
                opened.map_err(|why| Failure::failed(format!("the outbox {shown} cannot be made: {why}")))?,
            )
        }
        MailTransport::Smtp => {
            let settings = smtp_settings(&config.mail.smtp, home.host())?;
            Arc::new(Smtp::new(&settings).map_err(invalid)?)
        }
    };
    Ok(Post { mailer, renderer: Renderer::new(home), sender })
}

/// The mail server that mail leaves by; `None` where it stays on this machine.
pub(crate) fn server(config: &DeploymentConfig) -> Result<Option<(String, u16)>, Failure> {
    let _sender: Sender = config.mail.from.as_deref().unwrap_or(SENDER).parse().map_err(invalid)?;
    if config.mail.transport == MailTransport::Outbox {
        return Ok(None);
    }
    let settings = smtp_settings(&config.mail.smtp, console_url(config)?.host())?;
    let _mailer = Smtp::new(&settings).map_err(invalid)?;
    Ok(Some((settings.host, settings.port)))
}

fn smtp_settings(smtp: &SmtpSection, hello_name: &str) -> Result<SmtpSettings, Failure> {
    let tls = match smtp.tls {
        SmtpProtection::None => SmtpTls::None,
        SmtpProtection::Starttls => SmtpTls::StartTls,
        SmtpProtection::Tls => SmtpTls::Tls,
    };
    // Checked against its range when the configuration was loaded.
    let port = smtp.port.and_then(|port| u16::try_from(port).ok()).unwrap_or_else(|| tls.usual_port());
    Ok(SmtpSettings {
        host: smtp.host.clone(),
        port,
        tls,
        credentials: credentials(smtp)?,
        root_ca_file: None,
        hello_name: hello_name.to_owned(),
        timeout: PATIENCE,
    })
}

fn credentials(smtp: &SmtpSection) -> Result<Option<SmtpCredentials>, Failure> {
    let Some(username) = smtp.username.clone() else { return Ok(None) };
    let Some(name) = smtp.password_ref.as_ref().map(|reference| &reference.env) else {
        return Err(Failure::invalid(
            "`mail.smtp.username` is set: say with `password_ref` where its password is",
        ));
    };
    let password = environment::variable(name).ok_or_else(|| {
        Failure::invalid(format!("`mail.smtp.password_ref` names {name}, which is not set"))
    })?;
    Ok(Some(SmtpCredentials { username, password: password.into() }))
}

fn invalid(why: impl std::fmt::Display) -> Failure {
    Failure::invalid(format!("mail cannot be sent as configured: {why}"))
}
