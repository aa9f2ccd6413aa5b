//! The environment, read here and nowhere else.

/// The value of an environment variable; `None` when it is not set or no text.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    std::env::var(name).ok()
}
