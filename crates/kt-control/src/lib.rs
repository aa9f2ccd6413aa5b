//! What an actor can do in the control plane, step by step, in one transaction, audited. No HTTP, no SQL.
//!
//! Each use case is a method of [`Control`] that takes the [`Ctx`](kt_domain::ctx::Ctx) first: who acts, from where,
//! and now. It asks for the permission in its first line, decides by the pure rules of `kt_domain`, and writes its
//! audit record in the transaction of the change.

mod addresses;
mod approval;
mod audit;
mod authenticate;
mod budgets;
mod chat;
mod configurations;
mod confirm;
mod console;
mod control;
mod copies;
mod csv;
mod device;
mod email_change;
mod evenly;
mod events;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gateways;
mod inference;
mod invitations;
mod ip_restrictions;
mod jobs;
mod jwt;
mod keeping;
mod keys;
mod lateness;
mod links;
mod list_exports;
mod living_sessions;
pub mod mail;
mod members;
mod once_requests;
mod operator;
mod organizations;
pub mod outbound;
mod overview;
mod paging;
mod passes;
pub mod passwords;
mod places;
mod post;
mod posture;
mod profile;
mod provider_credentials;
mod provider_trial;
mod readiness;
mod recent;
mod recovery;
mod refusals;
mod registration;
mod resealing;
mod scim;
mod seal;
mod second_factors;
mod security;
mod sessions;
mod set_up;
mod setup_requests;
mod shared_counts;
mod sign_in;
mod sparingly;
mod sso;
mod tasks;
mod usage;
mod version;
mod workspaces;

pub use approval::Approval;
pub use audit::{
    AuditExport, AuditSink, AuditStanding, ExportFormat, Syslog, SyslogAddress, SyslogAddressError, Webhook,
    WebhookError, require_seal_of,
};
pub use authenticate::{Authenticated, Bearer};
pub use budgets::{BudgetShare, BudgetStanding};
pub use chat::{Ask, ConversationView, Streaming, TurnView};
pub use configurations::{
    AwaitedGateway, ConfigurationView, Linted, NewGateway, NewVersion, RollOutTo, RolledOut, VersionView,
};
pub use confirm::Confirmed;
pub use console::{ConsoleSession, Cookie};
pub use control::{Control, Parts};
pub use device::{DeviceCodes, WaitingDevice};
pub use evenly::EVEN_STEP;
pub use events::{Delivered, Delivery, EventView, EventsExport, EventsFormat};
pub use gateways::{Asking, GatewayReport, GatewayView, Known, NO_CONFIGURATION, News};
pub use invitations::InvitationView;
pub use ip_restrictions::{IpRestrictionsView, LockOutPreview, ShutOut, ShutOutKey, ShutOutSession};
pub use jwt::{ConfiguredJwtKey, Jwk, JwkSet, JwtKeyError};
pub use keys::{Change, KeyChange, KeyDemands, KeyMade, KeyView, NewKey, WhichKeys};
pub use kt_store::configurations::ConfigurationVersion;
pub use kt_store::conversations::{Conversation, Turn};
pub use kt_store::event_log::EventFilter;
pub use kt_store::events::ChainStanding;
pub use kt_store::gateways::Delivering;
pub use kt_store::invitations::Invitation;
pub use kt_store::memberships::Waiting;
pub use kt_store::scim::ScimGroup;
pub use kt_store::setup_requests::SetupRequest;
pub use kt_store::tasks::{Run, Task};
pub use lateness::TOO_LONG;
pub use list_exports::ListExport;
pub use living_sessions::{LivingSession, WhichSessions};
pub use members::{FactorFilter, MemberView, WhichMembers};
pub use once_requests::{Begun, OnceClaim, OnceRequest};
pub use operator::BackupFailure;
pub use organizations::OrganizationView;
pub use overview::{Concern, Overview, Step, Traffic, Window};
pub use paging::{Page, PageRequest};
pub use post::Post;
pub use posture::{AllowlistStatus, Posture};
pub use profile::{Profile, ProfileChange};
pub use provider_credentials::CredentialView;
pub use provider_trial::{ProviderTrial, Tried};
pub use registration::{Register, Registered};
pub use scim::{ScimGroupView, ScimQuery, ScimUserView};
pub use seal::{SealKey, SealKeyError};
pub use second_factors::{
    AuthenticatorApp, Enrolled, EnrolledAtSignIn, FactorDemand, PasskeyAnswer, PasskeyChallenge, PasskeyView,
    Passkeys, SecondFactors, TotpSetup,
};
pub use security::SecurityView;
pub use sessions::{Credentials, SessionTokens, SessionView};
pub use set_up::{NewOrganization, OrganizationAdded, SetUp, SetUpDone};
pub use shared_counts::{SharedCounts, SharedCountsError};
pub use sign_in::{PasskeySignIn, Reproof, SignIn, SignInOutcome, SignedIn, Whoami, WhoamiKey};
pub use sso::{
    Arrival, Departure, DomainView, GoogleClient, LogoutMessage, NameError, NameServers, Names,
    NewOidcProvider, NewSamlProvider, OidcAnswer, OidcPlace, OwnCertificate, OwnCertificates, OwnKeyStep,
    ProviderChange, ProviderView, SamlAnswer, SamlPlace, SamlReading, SamlSource, Sso, SsoJourney,
    SsoOutcome, TestReport, TestStep, Texts, Trial,
};
pub use tasks::{TaskTerms, TaskView};
pub use usage::{Named, Ranking, Usage, UsageExport, UsageFilter, UsageReport, UsageRow};
pub use version::Expected;
