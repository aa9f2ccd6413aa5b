//! What happens to a request, in order: `address` → `cors` → `size_limits` → `authenticate` → `rate_limits` → `route` → `content` →
//! `rate_limits` and `budgets` → `policy_chain`, then upstream. Each stage is one file and lets the request pass or refuses it.

pub(crate) mod address;
pub(crate) mod authenticate;
pub(crate) mod budgets;
pub(crate) mod circle;
pub(crate) mod content;
pub(crate) mod cors;
pub(crate) mod host;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod policy_chain;
pub(crate) mod rate_limits;
pub(crate) mod references;
pub(crate) mod route;
pub(crate) mod safety;
pub(crate) mod size_limits;
