//! The gateway's edge, over real connections: a gateway in this process, a provider of the tests' own behind it, and
//! clients that send exactly the bytes that a test says.

mod access_keys;
mod addresses;
mod admin;
mod bodies;
mod budgets;
mod canary;
mod cors;
mod deadlines;
mod defects;
mod drain;
mod echo;
mod errors;
mod explain;
mod faults;
mod forwarding;
mod framing;
mod harness;
mod http2;
mod keys;
mod long_bodies;
mod moderation;
mod on_failure;
mod overdraft;
mod places;
mod policies;
mod proxy_protocol;
mod rate_limits;
mod reload;
mod rests;
mod routing;
mod scopes;
mod telemetry;
mod tls;
mod translation;
