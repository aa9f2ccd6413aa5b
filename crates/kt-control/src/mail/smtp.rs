//! Mail through a server that takes it for delivery.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::{Label, Letter, MailError, Mailer, Sending};

/// Connections kept to the server.
const CONNECTIONS: u32 = 4;
const IDLE: Duration = Duration::from_mins(1);

const BEGIN_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// `mail.smtp`: where the server is, and how to speak to it.
pub struct SmtpSettings {
    /// Its name, which its certificate has to hold, or address.
    pub host: String,
    /// Its port; see [`SmtpTls::usual_port`].
    pub port: u16,
    /// How the connection is kept private.
    pub tls: SmtpTls,
    /// Who we are to it, if it asks.
    pub credentials: Option<SmtpCredentials>,
    /// A PEM file with authorities to trust besides those of the system.
    pub root_ca_file: Option<PathBuf>,
    /// The name to greet with: the host of the deployment's public address.
    pub hello_name: String,
    /// For connecting and for each command; a whole letter may take four times as long.
    pub timeout: Duration,
}

/// A user of the mail server.
pub struct SmtpCredentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

/// `mail.smtp.tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// In the clear: for a server on this machine.
    None,
    /// Begin in the clear, then TLS before anything is said; never without.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// The settings cannot work.
#[derive(Debug, Error)]
pub enum SmtpSetupError {
    /// Everybody on the way could read the password.
    #[error("`mail.smtp.tls: none` would send the password to {0} in the clear: use `starttls` or `tls`")]
    PasswordInTheClear(String),
    /// The file is not there or not readable.
    #[error("cannot read the authorities in {path}: {source}")]
    RootCaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{0} holds no certificates in PEM form (`{BEGIN_CERTIFICATE}`)")]
    NoCertificates(PathBuf),
    /// TLS does not take the certificates or the host.
    #[error("TLS to the mail server cannot be set up: {0}")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// A connection, kept up as long as it is used, to a mail server.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    patience: Duration,
}

impl SmtpTls {
    /// The port that servers listen on (RFC 8314 section 3.3, RFC 6409).
    #[must_use]
    pub fn usual_port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::StartTls => 587,
            Self::Tls => 465,
        }
    }
}

impl Smtp {
    /// Prepares to send; nothing is connected yet.
    ///
    /// # Panics
    /// Outside a Tokio runtime, which looks after the idle connections.
    pub fn new(settings: &SmtpSettings) -> Result<Self, SmtpSetupError> {
        let SmtpSettings { host, port, timeout, .. } = settings;
        if settings.tls == SmtpTls::None && settings.credentials.is_some() && !is_this_machine(host) {
            return Err(SmtpSetupError::PasswordInTheClear(host.clone()));
        }
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(*port)
            .tls(tls(settings)?)
            .hello_name(ClientId::Domain(settings.hello_name.clone()))
            .timeout(Some(*timeout))
            .pool_config(PoolConfig::new().max_size(CONNECTIONS).idle_timeout(IDLE));
        if let Some(SmtpCredentials { username, password }) = &settings.credentials {
            let password = password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(username.clone(), password));
        }
        Ok(Self { transport: transport.build(), patience: *timeout * 4 })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls(settings: &SmtpSettings) -> Result<Tls, SmtpSetupError> {
    match settings.tls {
        SmtpTls::None => Ok(Tls::None),
        SmtpTls::StartTls => Ok(Tls::Required(tls_parameters(settings)?)),
        SmtpTls::Tls => Ok(Tls::Wrapper(tls_parameters(settings)?)),
    }
}

fn tls_parameters(settings: &SmtpSettings) -> Result<TlsParameters, SmtpSetupError> {
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.root_ca_file {
        let pem =
            fs::read(path).map_err(|source| SmtpSetupError::RootCaFile { path: path.clone(), source })?;
        let authorities = Certificate::from_pem(&pem)
            .ok()
            // A file without any is no error to the parser.
            .filter(|_| String::from_utf8_lossy(&pem).contains(BEGIN_CERTIFICATE))
            .ok_or_else(|| SmtpSetupError::NoCertificates(path.clone()))?;
        parameters = parameters.add_root_certificate(authorities);
    }
    parameters.build().map_err(SmtpSetupError::Tls)
}

impl Mailer for Smtp {
    fn send<'a>(&'a self, letter: &'a Letter) -> Sending<'a> {
        Box::pin(async move {
            let mail = letter.to_mime()?;
            match tokio::time::timeout(self.patience, self.transport.send(mail)).await {
                Ok(outcome) => outcome.map(drop).map_err(|error| meaning(&error)),
                Err(_) => Err(MailError::Temporary("the mail server takes too long".to_owned())),
            }
        })
    }
}

/// Only what the server itself calls permanent (RFC 5321 section 4.2.1) is: everything else may be mended meanwhile,
/// from the network to the certificate.
fn meaning(error: &lettre::transport::smtp::Error) -> MailError {
    // The server's own words are in it; they are not to look like several lines of a log.
    let told = Label::new(&error.to_string()).to_string();
    if error.is_permanent() { MailError::Permanent(told) } else { MailError::Temporary(told) }
}
